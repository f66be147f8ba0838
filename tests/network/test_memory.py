"""Passing proves: a batch that memory does not hold is run in smaller ones with the same result, a word in the log and
nothing done twice; what is not a lack of memory is raised as it is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scflyformer import _log
from scflyformer.network._infer import embed_rows
from scflyformer.network._memory import is_out_of_memory, run_batches
from scflyformer.tokens._batches import in_steps


class Shelf:
    """Takes batches of at most ``room`` tokens and notes what it took."""

    def __init__(self, lengths: np.ndarray, room: int, error: Exception) -> None:
        self.lengths, self.room, self.error, self.taken = lengths, room, error, []

    def __call__(self, batch: np.ndarray) -> None:
        if len(batch) * in_steps(self.lengths[batch].max()) > self.room:
            raise self.error
        self.taken.append(batch)


MESSAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError("Unable to allocate 3 GiB"),
]


@pytest.mark.parametrize("error", MESSAGES, ids=lambda error: type(error).__name__)
def test_the_batch_is_halved_until_it_fits(error, monkeypatch):
    said = []
    monkeypatch.setattr(_log, "warning", said.append)
    lengths = np.array([7, 3, 10, 10, 1, 8, 10, 9])
    shelf = Shelf(lengths, 20, error)
    moved = []
    run_batches(shelf, lengths, 80, bar=SimpleNamespace(update=moved.append))
    assert sorted(np.concatenate(shelf.taken)) == list(range(8))
    assert sum(moved) == 8
    assert said[0] == "out of memory with 75 tokens a batch: going on with 37."
    assert len(said) == 2


def test_one_cell_that_does_not_fit_says_what_to_do():
    lengths = np.array([5, 50])
    with pytest.raises(RuntimeError, match="one cell of 63 tokens. Free memory, or run with device='cpu'"):
        run_batches(Shelf(lengths, 20, MESSAGES[0]), lengths, 200)


def test_other_errors_are_not_swallowed():
    lengths = np.array([5, 50])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run_batches(Shelf(lengths, 20, RuntimeError("mat1 and mat2 shapes cannot be multiplied")), lengths, 200)
    assert not is_out_of_memory(ValueError("out of range"))


def test_embeddings_are_the_same(make_network, make_rows, monkeypatch):
    """As when a GPU runs full: the network refuses batches above 30 tokens."""
    network, rows = make_network(), make_rows([9, 9, 20, 3, 1, 0, 14])
    expected = embed_rows(network, rows, pooling="cell", device="cpu", dtype="float32")
    embed = type(network).embed

    def cramped(self, tokens, *args, **kwargs):
        if tokens.numel() > 30:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return embed(self, tokens, *args, **kwargs)

    monkeypatch.setattr(type(network), "embed", cramped)
    found = embed_rows(network, rows, pooling="cell", device="cpu", dtype="float32")
    np.testing.assert_allclose(found, expected, atol=1e-5)
