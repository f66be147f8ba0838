"""Passing proves: a network with further genes and directions says of the known ones what it said before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._adapt import NEIGHBOURS, Placement, widen
from scflyformer.training._extend import extend_network

N_OLD, N_NEW, N_FURTHER = 30, 12, 5


@pytest.fixture(params=[6, 0], ids=["reads genes", "reads directions"])
def old(request) -> CellBert:
    """A network with a profile code, BERT reading fewer genes than the code, with nothing at zero."""
    shape = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "max_len": 40, "dropout": 0.0}
    shape |= {"code_size": 6, "n_directions": 9, "bert_len": 7}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = make_config(N_OLD + N_SPECIAL, NetworkShape(objective="cell", **shape))
        config.n_read = request.param
        network = CellBert(config).eval()
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return network


def wider(network: CellBert, n_new: int, seed: int) -> CellBert:
    """Return the network with ``n_new`` further genes and `N_FURTHER` further directions, all drawn at random."""
    random = np.random.default_rng(seed)
    n_genes, n_linear = network.n_genes + n_new, sum(part.shape[1] for part in network.profile_encoder.weights)
    placement = Placement(
        random.normal(size=(n_new, n_linear)).astype(np.float32),
        random.normal(size=(n_genes, N_FURTHER)).astype(np.float32),
        random.random(n_new).astype(np.float32),
        np.zeros((n_new, NEIGHBOURS), dtype=int),
        np.zeros((n_new, NEIGHBOURS)),
    )
    return widen(extend_network(network, n_genes, seed=seed), placement)


@pytest.mark.parametrize("times", [1, 2])
def test_other_halves_fit_as_before(old, times):
    """Where the new genes were not measured; directions of the adapted cells have no say, however often they come."""
    new = old
    for number in range(times):
        new = wider(new, N_NEW, seed=number)
    assert new.config.n_adapted == times * N_FURTHER
    assert (new.max_len, new.bert_len, new.finds_halves) == (40, 7, True)
    generator = torch.Generator().manual_seed(3)
    others, cells = torch.rand(8, N_OLD, generator=generator), torch.randn(4, 16, generator=generator)
    zeros = torch.zeros(8, times * N_NEW)
    panel = torch.cat([torch.ones(N_OLD), torch.zeros(times * N_NEW)]).bool()
    with torch.inference_mode():
        expected = old.half_logits(cells, others, None)
        found = new.half_logits(cells, torch.cat([others, zeros], 1), panel)
        measured = new.half_logits(cells, torch.cat([others, zeros + 1], 1), None)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (measured - expected).abs().max() > 1e-2  # new genes that were measured are read


def test_the_cell_token_stays(old):
    """The embedding of a cell of known genes: the token, and of the code all but the further directions."""
    new = wider(old, N_NEW, seed=0)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.stack([torch.randperm(N_OLD, generator=generator)[:11] for _ in range(3)]) + N_SPECIAL
    values = torch.rand(3, 11, generator=generator).sort(1, descending=True).values
    panel = torch.arange(N_OLD + N_NEW) < N_OLD
    with torch.inference_mode():
        expected, found = old.embed(tokens, values), new.embed(tokens, values, panel=panel)
    assert found.shape[1] == expected.shape[1] + N_FURTHER
    further = slice(16 + 9, 16 + 9 + N_FURTHER)
    known = np.delete(np.arange(found.shape[1]), np.arange(found.shape[1])[further])
    torch.testing.assert_close(found[:, known], expected, rtol=1e-4, atol=1e-4)
    assert found[:, further].std() > 0.1
