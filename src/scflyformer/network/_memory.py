"""Batches that fit: a batch that memory does not hold is run in halves."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from scflyformer import _log
from scflyformer.tokens._batches import in_steps, token_batches

if TYPE_CHECKING:
    from scflyformer.network._network import CellBert

_fitting: WeakKeyDictionary[CellBert, int] = WeakKeyDictionary()
"""Tokens a batch that a network came down to, so that its next cells do not try again."""
_SIGNS = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


def run_batches(
    network: CellBert, run: Callable[[np.ndarray], None], lengths: np.ndarray, batch_tokens: int, *, bar: Any = None
) -> None:
    """Run cells in batches of nearly equal length; where memory does not suffice, go on with smaller ones.

    ``run`` is called with the positions of a batch's cells, and again after it ran out of memory. ``lengths`` are the
    tokens of each cell; those beyond what BERT reads take little memory and do not count. ``batch_tokens``, padding
    included, is halved whenever a batch does not fit, which the log says and which holds for later calls of this
    network, too. A `RuntimeError` where one cell alone does not fit.
    """
    limit = network.bert_len
    lengths = np.minimum(lengths, limit)
    todo = token_batches(lengths, batch_tokens, limit=limit)
    if network in _fitting:
        todo = token_batches(lengths, min(batch_tokens, _fitting[network]), limit=limit)
    while todo:
        batch = todo.pop(0)
        if _fits(run, batch):
            if bar is not None:
                bar.update(len(batch))
            continue
        n_tokens = len(batch) * in_steps(int(lengths[batch].max()), limit)
        if len(batch) == 1:
            raise RuntimeError(
                f"Memory does not hold one cell of {n_tokens} tokens. Free memory, or set another sf.settings.device."
            )
        _fitting[network] = n_tokens // 2
        _log.warning(f"out of memory with {n_tokens} tokens a batch: going on with {n_tokens // 2}.")
        left = np.concatenate([batch, *todo])
        todo = [left[part] for part in token_batches(lengths[left], n_tokens // 2, limit=limit)]


def _fits(run: Callable[[np.ndarray], None], batch: np.ndarray) -> bool:
    """Run a batch; whether memory sufficed. Whatever the failed run held is let go."""
    try:
        run(batch)
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
    return False


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out: of CUDA, MPS, or the processor."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(sign in str(error) for sign in _SIGNS)


def hand_back() -> None:
    """Return freed memory to the system: glibc keeps some for every shape of batch that it has met."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
