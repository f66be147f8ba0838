"""Finding the other half of a cell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scflyformer.network._profile import ProfileEncoder
from scflyformer.training import _contrast
from scflyformer.training._contrast import contrast_loss, fit_profile_encoder, load_profile_encoder
from scflyformer.training._options import RunOptions


@pytest.fixture
def store(make_store):
    """Four kinds of cells, told apart by which genes they express."""
    random = np.random.default_rng(0)
    kind = random.integers(0, 4, (240, 1))
    rate = np.where(np.arange(40) % 4 == kind, 6.0, 0.4) * random.lognormal(0, 0.6, (240, 40))
    return make_store((240,), n_genes=40, counts=random.poisson(rate), medians=np.ones(40, np.float32))[0]


N_READ = 6


def options(epochs: int, seed: int) -> RunOptions:
    return RunOptions(code_epochs=epochs, seed=seed, dtype="float32")


def fit(store, path, n_read=N_READ, *, epochs=15, seed=0):
    torch.manual_seed(0)
    encoder = ProfileEncoder(40, 6, 9, n_read)
    samples = np.repeat(["a", "b"], 120)
    asked = {"options": options(epochs, seed), "device": "cpu", "going_on": False, "file": path}
    fit_profile_encoder(encoder, store, np.arange(240), samples, **asked)
    return encoder


def test_loss_by_hand():
    first = torch.eye(3)
    own, other = np.exp(1 / _contrast.TEMPERATURE), 1.0
    assert float(contrast_loss(first, first)) == pytest.approx(-np.log(own / (own + 2 * other)), rel=1e-3)
    assert float(contrast_loss(first, first.roll(1, 0))) == pytest.approx(np.log(own + 2), rel=1e-5)


def test_halves_are_found(store, tmp_path):
    """On new halves, with and without training."""
    from torch.nn import functional

    from scflyformer.training._halves import half_profiles, whole_counts

    losses, rows = [], store.rows(np.arange(120))
    for epochs in (0, 30):
        encoder = fit(store, tmp_path / f"{epochs}.safetensors", epochs=epochs)
        halves = half_profiles(rows, whole_counts(rows, store.medians), store.medians, np.random.default_rng(9))
        with torch.no_grad():
            codes = [encoder.contrasted(encoder.linear(torch.from_numpy(half), None)) for half in halves]
            losses.append(float(contrast_loss(*(functional.normalize(each, dim=1) for each in codes))))
    assert losses[1] < losses[0] - 0.2 and losses[1] < np.log(120) - 1


def test_what_was_fitted_is_taken_over(store, tmp_path):
    """A run that was interrupted later does not fit again, and what it reads is frozen."""
    file = tmp_path / "code.safetensors"
    encoder = fit(store, file)
    other = ProfileEncoder(40, 6, 9, N_READ)
    load_profile_encoder(other, file)
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["code.safetensors"]
    written = file.read_bytes()
    fit(store, file, seed=5)
    assert file.read_bytes() == written


def test_the_same_seed_gives_the_same(store, tmp_path):
    first, second = (fit(store, tmp_path / f"{name}.safetensors", epochs=2).state_dict() for name in "ab")
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(("n_read", "learnt"), [(N_READ, "contrast_directions"), (0, "directions")])
def test_going_on_trains_what_the_contrast_reads(store, tmp_path, n_read, learnt):
    """Without a step nothing changes; with some, the directions that the contrast reads do, and no others."""
    begun = fit(store, tmp_path / "first.safetensors", n_read)
    for epochs, moves in ((0, set()), (3, {learnt})):
        encoder = ProfileEncoder(40, 6, 9, n_read)
        load_profile_encoder(encoder, tmp_path / "first.safetensors")
        file = tmp_path / f"on-{epochs}.safetensors"
        fit_profile_encoder(
            encoder, store, np.arange(240), np.repeat("a", 240), options=options(epochs, 1), device="cpu",
            file=file, going_on=True,
        )  # fmt: skip
        before, after = (dict(each.named_parameters()) for each in (begun, encoder))
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {name for name in changed if not name.startswith("contrast.")} == moves


def test_what_the_contrast_reads_is_trained_and_directions_are_not(store, tmp_path):
    """Closed-form directions are the same however long the contrast trains."""
    short, long = (fit(store, tmp_path / f"{n}.safetensors", epochs=n) for n in (0, 5))
    torch.testing.assert_close(short.directions, long.directions, rtol=0, atol=0)
    assert not torch.equal(short.contrast_directions, long.contrast_directions)


def test_weights_of_genes_learn_slowly(store, tmp_path, monkeypatch):
    """They move with their rate alone, by about as much less as it is lower."""
    begun, slow = (fit(store, tmp_path / f"{n}.safetensors", epochs=n).contrast_directions for n in (0, 5))
    monkeypatch.setattr(_contrast, "_GENE_RATE", 1.0)
    fast = fit(store, tmp_path / "fast.safetensors", epochs=5).contrast_directions
    moved, at_full_rate = (float((each - begun).norm()) for each in (slow, fast))
    assert 0 < moved < 0.3 * at_full_rate


def test_batches_hold_cells_of_one_sample(store):
    groups = np.repeat([0, 1, 2], [100, 139, 1])
    made = _contrast._batches(np.arange(240), groups, np.random.default_rng(0))
    assert all(len(set(groups[batch])) == 1 and len(batch) > 1 for batch in made)
    assert sorted(np.concatenate(made)) == list(range(239))
