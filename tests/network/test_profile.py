"""The profile encoder, and what the network makes of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from scflyformer._running import Running
from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, N_SPECIAL, PAD
from scflyformer.network._infer import embed_rows
from scflyformer.network._profile import ProfileEncoder


@pytest.fixture(params=[2, 0], ids=["reads genes", "reads directions"])
def encoder(request) -> ProfileEncoder:
    torch.manual_seed(0)
    encoder = ProfileEncoder(5, 3, 4, request.param)
    with torch.no_grad():
        encoder.directions.normal_()
        encoder.centre.copy_(torch.arange(5) / 10)
    return encoder.eval()


def test_a_profile_shows_what_is_visible(encoder):
    """Padding, masked tokens and hidden values give nothing, and a gene swapped in does not hide its true value."""
    tokens = torch.tensor([[N_SPECIAL + 4, MASK, N_SPECIAL + 4, N_SPECIAL, PAD]])
    values = torch.tensor([[2.0, HIDDEN_VALUE, HIDDEN_VALUE, 0.5, HIDDEN_VALUE]])
    assert encoder.profile(tokens, values).tolist() == [[0.5, 0, 0, 0, 2.0]]


def test_a_gene_that_was_not_measured_counts_as_average(encoder):
    profile = torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0]])
    panel = torch.tensor([True, True, True, False, False])
    average = profile.clone()
    average[0, 3:] = encoder.centre[3:]
    torch.testing.assert_close(encoder.linear(profile, panel), encoder.linear(average, None))
    assert not torch.allclose(encoder.linear(profile, panel), encoder.linear(profile, None))


def test_each_cell_may_have_its_own_panel(encoder):
    profile = torch.rand(2, 5)
    panels = torch.tensor([[True] * 5, [True, False, True, False, True]])
    both = encoder.linear(profile, panels)
    for row in range(2):
        torch.testing.assert_close(both[row], encoder.linear(profile[row : row + 1], panels[row])[0])


def test_a_scale_of_the_directions_leaves_the_contrast(encoder):
    """The code is the directions and what the small network makes of its own, or of the first of them."""
    profile, scale = torch.rand(2, 5), torch.tensor([2.0, 0.5, 3.0, 1.0])
    with torch.no_grad():
        before = encoder.code(encoder.linear(profile, None))
        np.testing.assert_allclose(
            before[:, :4], ((profile - encoder.centre) @ encoder.directions).numpy(), rtol=1e-5, atol=1e-6
        )
        read = encoder.directions[:, :3] if encoder.contrast_directions is None else encoder.contrast_directions
        torch.testing.assert_close(before[:, 4:], encoder.contrast((profile - encoder.centre) @ read))
        encoder.rescale(scale)
        after = encoder.code(encoder.linear(profile, None))
    torch.testing.assert_close(after, torch.cat([before[:, :4] * scale, before[:, 4:]], 1), rtol=1e-4, atol=1e-5)


def test_the_embedding_is_the_cell_token_and_the_code(make_network, make_rows):
    network, rows = make_network(code_size=4, n_directions=6), make_rows([7, 0, 12, 3])
    found = embed_rows(network, rows, pooling="cell", running=Running("cpu"))
    assert found.shape == (4, network.embedding_size("cell")) == (4, 16 + 6 + 4)
    assert (
        network.embedding_size("mean")
        == 16
        == embed_rows(network, rows, pooling="mean", running=Running("cpu")).shape[1]
    )
    assert not found[1].any()
    tokens = torch.from_numpy(rows.tokens[:7].astype(np.int64))[None]
    values = torch.from_numpy(rows.values[:7])[None]
    with torch.no_grad():
        cell = network.cell_vectors(network.encode(tokens, values))
        code = network.profile_encoder(tokens, values)
    np.testing.assert_allclose(found[0], torch.cat([cell, code], 1)[0].numpy(), rtol=1e-4, atol=1e-5)


def test_the_cell_token_starts_from_the_code(make_network, make_rows):
    """Change what the code says and nothing else: the cell token changes."""
    network, rows = make_network(code_size=4, n_directions=6), make_rows([7])
    before = embed_rows(network, rows, pooling="cell", running=Running("cpu"))[:, :16]
    with torch.no_grad():
        network.profile_encoder.directions.mul_(-1)
    after = embed_rows(network, rows, pooling="cell", running=Running("cpu"))[:, :16]
    assert np.abs(before - after).max() > 1e-3


def test_rows_carry_their_panel(make_network, make_rows):
    network, rows = make_network(code_size=4, n_directions=6), make_rows([5, 9])
    narrow = dataclasses.replace(rows, panel=np.isin(np.arange(30), rows.tokens - N_SPECIAL))
    whole = dataclasses.replace(rows, panel=np.ones(30, dtype=bool))
    codes = [embed_rows(network, each, pooling="cell", running=Running("cpu")) for each in (rows, whole, narrow)]
    np.testing.assert_allclose(codes[0], codes[1], atol=1e-5)
    assert np.abs(codes[0] - codes[2]).max() > 1e-3
    for made in (narrow.take(np.array([1])), narrow.cut(4), narrow.select(narrow.tokens > 5)):
        assert made.panel is narrow.panel
