"""Passing proves: genes that an encoder does not know are placed where it would have had them, were they known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scflyformer.network._profile import ProfileEncoder
from scflyformer.training._adapt import place_genes
from scflyformer.training._contrast import fit_profile_encoder
from scflyformer.training._options import RunOptions

N_GENES, N_OLD = 40, 28


@pytest.fixture
def store(make_store):
    """Two data sets of cells of four kinds; the smaller one measured the last eight genes alone among the new."""
    random = np.random.default_rng(0)
    kind = random.integers(0, 4, (600, 1))
    rate = np.where(np.arange(N_GENES) % 4 == kind, 8.0, 0.5) * random.lognormal(0, 0.5, (600, N_GENES))
    panels = np.ones((2, N_GENES), dtype=bool)
    panels[0, 32:] = False
    counts = random.poisson(rate) * np.repeat(panels, [400, 200], axis=0)
    medians = np.ones(N_GENES, np.float32)
    return make_store((400, 200), n_genes=N_GENES, panels=panels, counts=counts, medians=medians)[0]


@pytest.mark.parametrize("n_read", [3, 0])
def test_new_genes_stand_where_genes_like_them_stand(store, tmp_path, n_read):
    torch.manual_seed(0)
    known = ProfileEncoder(N_GENES, 3, 3, n_read)
    fit_profile_encoder(
        known, store, np.arange(600), np.repeat(["a", "b"], [400, 200]), device="cpu", file=tmp_path / "code",
        options=RunOptions(code_epochs=5, seed=0, dtype="float32"), going_on=False,
    )  # fmt: skip
    truth = known.rows(torch.arange(N_GENES)).detach().numpy()
    centre = known.centre.detach().numpy().copy()
    with torch.no_grad():
        for parameter in (known.directions, known.contrast_directions, known.centre):
            if parameter is not None:
                parameter[N_OLD:] = 0
    place_genes(known, store, np.arange(600), n_old=N_OLD, seed=1)
    found = known.rows(torch.arange(N_GENES)).detach().numpy()
    np.testing.assert_array_equal(found[:N_OLD], truth[:N_OLD])
    first = slice(n_read, n_read + 3)  # the directions, which are in closed form
    assert np.corrcoef(found[N_OLD:, first].ravel(), truth[N_OLD:, first].ravel())[0, 1] > 0.9
    new = known.centre.detach().numpy()[N_OLD:]
    np.testing.assert_allclose(new[4:], centre[N_OLD + 4 :], rtol=1e-4)  # measured in the smaller set alone
    assert (new > 0.1).all()


def test_without_new_genes_nothing_changes(store):
    encoder = ProfileEncoder(N_GENES, 3, 3, 3)
    before = encoder.rows(torch.arange(N_GENES)).detach()
    place_genes(encoder, store, np.arange(600), n_old=N_GENES, seed=0)
    assert torch.equal(encoder.rows(torch.arange(N_GENES)), before)
