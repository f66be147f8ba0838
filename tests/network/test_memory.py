"""Passing proves: a batch that memory does not hold is run in smaller ones with the same result, a word in the log and
nothing done twice; what is not a lack of memory is raised as it is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scflyformer import _log
from scflyformer._running import Running
from scflyformer.network._infer import embed_rows
from scflyformer.network._memory import hand_back, is_out_of_memory, run_batches
from scflyformer.perturbation._copies import token_states
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
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError("Unable to allocate 3 GiB"),
]


@pytest.mark.parametrize("error", MESSAGES, ids=lambda error: type(error).__name__)
def test_the_batch_is_halved_until_it_fits(error, make_network, monkeypatch):
    said = []
    monkeypatch.setattr(_log, "warning", said.append)
    lengths = np.array([7, 3, 10, 10, 1, 8, 10, 9])
    shelf = Shelf(lengths, 20, error)
    moved = []
    run_batches(make_network(max_len=80), shelf, lengths, 80, bar=SimpleNamespace(update=moved.append))
    assert sorted(np.concatenate(shelf.taken)) == list(range(8))
    assert sum(moved) == 8
    assert said[0] == "out of memory with 75 tokens a batch: going on with 37."
    assert len(said) == 2


def test_one_cell_that_does_not_fit_says_what_to_do(make_network):
    lengths = np.array([5, 50])
    with pytest.raises(RuntimeError, match="one cell of 63 tokens. Free memory, or set another sf.settings.device"):
        run_batches(make_network(max_len=80), Shelf(lengths, 20, MESSAGES[0]), lengths, 200)


def test_other_errors_are_not_swallowed(make_network):
    lengths = np.array([5, 50])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run_batches(
            make_network(max_len=80),
            Shelf(lengths, 20, RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
            lengths,
            200,
        )
    assert not is_out_of_memory(ValueError("out of range"))


def cramped(network, name: str, room: int, monkeypatch) -> list[int]:
    """Let a method of the network refuse batches of more than ``room`` tokens; return what it was asked for."""
    method, asked = getattr(type(network), name), []

    def refuse(self, tokens, *args, **kwargs):
        asked.append(tokens.numel())
        if tokens.numel() > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return method(self, tokens, *args, **kwargs)

    monkeypatch.setattr(type(network), name, refuse)
    return asked


def test_embeddings_are_the_same_and_later_cells_do_not_try_again(make_network, make_rows, monkeypatch):
    network, rows = make_network(), make_rows([9, 9, 20, 3, 1, 0, 14])
    expected = embed_rows(network, rows, pooling="cell", running=Running("cpu", "float32"))
    asked = cramped(network, "embed", 30, monkeypatch)
    found = embed_rows(network, rows, pooling="cell", running=Running("cpu", "float32"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert max(asked) > 30
    asked.clear()
    again = embed_rows(network, rows, pooling="cell", running=Running("cpu", "float32"))
    np.testing.assert_allclose(again, found, atol=1e-5)
    assert max(asked) <= 30


def test_states_of_tokens_are_the_same(make_network, make_rows, monkeypatch):
    network, rows = make_network(), make_rows([9, 9, 20, 3, 14])
    expected = token_states(network, rows, Running("cpu", "float32", 1000))
    asked = cramped(network, "encode", 30, monkeypatch)
    np.testing.assert_allclose(token_states(network, rows, Running("cpu", "float32", 1000)), expected, atol=1e-5)
    assert max(asked) > 30


def test_memory_is_handed_back_without_harm():
    block = np.ones(1 << 20)
    hand_back()
    assert block.sum() == 1 << 20
