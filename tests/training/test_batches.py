"""Passing proves: the parts of a batch are the batch, and their losses and gradients add up to its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._batches import OwnCells, part_of
from scflyformer.training._objective import OTHERS, MaskedCells, losses


@pytest.fixture(params=["cell", "halves", "mlm"])
def case(make_store, request) -> tuple[CellBert, MaskedCells]:
    """A network, and masked cells of two panels for it; with ``halves`` it also finds other halves of counts."""
    halves, objective = request.param == "halves", request.param.replace("halves", "cell")
    panels = np.ones((2, 40), dtype=bool)
    panels[1, :15] = False
    store, _ = make_store((30, 20), panels=panels)
    shape = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "max_len": 40, "dropout": 0.0}
    shape |= {"code_size": 4, "n_directions": 6} if halves else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CellBert(make_config(40 + N_SPECIAL, NetworkShape(objective=objective, **shape)))
    if halves:
        network.profile_encoder.requires_grad_(False)
    groups = np.repeat([0, 1], [30, 20]) if halves else None
    return network, MaskedCells(store, objective=objective, max_len=40, seed=1, subsample=True, groups=groups)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_parts_make_up_the_batch(case, n_parts):
    batch = case[1].__getitems__([5, 3, 30, 31, 4, 49, 6, 7])
    parts = [part_of(batch, number, n_parts) for number in range(n_parts)]
    assert sum(share for _, share in parts) == pytest.approx(1)
    for name, tensor in batch.items():
        if name == OTHERS:
            assert all(part[name] is tensor for part, _ in parts)
            continue
        assert torch.equal(torch.cat([part[name] for part, _ in parts]), tensor)
    sizes = [len(part["tokens"]) for part, _ in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_parts", [2, 3, 5])
def test_losses_and_gradients_add_up(case, n_parts):
    """Also of three cells in five parts: two of them train on a borrowed cell that counts for nothing."""
    network, data = case
    batch = data.__getitems__([5, 3, 4, 6] if data.groups is not None else [5, 3, 30, 31])
    whole = losses(network, batch)
    whole["loss"].backward()
    expected = {name: value.grad.clone() for name, value in network.named_parameters() if value.requires_grad}
    network.zero_grad()
    found: dict[str, float] = {}
    for number in range(n_parts):
        part, share = part_of(batch, number, n_parts)
        own = losses(network, part)
        (own["loss"] * share).backward()
        for name, value in own.items():
            found[name] = found.get(name, 0.0) + float(value.detach()) * share
    assert found == pytest.approx({name: float(value.detach()) for name, value in whole.items()}, rel=1e-6)
    for name, value in network.named_parameters():
        if not value.requires_grad:
            continue
        torch.testing.assert_close(value.grad, expected[name], atol=3e-5, rtol=1e-4)


def test_each_process_gets_its_own(case):
    batch = [5, 3, 30, 31, 4]
    whole = case[1].__getitems__(batch)
    first, second = (OwnCells(case[1], rank=rank, count=2).__getitems__(batch) for rank in range(2))
    assert float(first.pop("share") + second.pop("share")) == 1
    names = whole.keys() - {OTHERS}
    assert all(torch.equal(torch.cat([first[name], second[name]]), whole[name]) for name in names)
    assert len(OwnCells(case[1], rank=0, count=2)) == 50


def test_cells_that_do_not_share_equally():
    batch = {"tokens": torch.zeros(2, 4), "targets": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"batch\['targets'\] has 3 entries, which 2 cells do not share equally"):
        part_of(batch, 0, 2)
