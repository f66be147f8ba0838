"""Batches that fit: a batch that memory does not hold is run in halves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from scflyformer import _log
from scflyformer.tokens._batches import in_steps, token_batches


def run_batches(run: Callable[[np.ndarray], None], lengths: np.ndarray, batch_tokens: int, *, bar: Any = None) -> None:
    """Run cells in batches of nearly equal length; where memory does not suffice, go on with smaller ones.

    Parameters
    ----------
    run
        Called with the positions of a batch's cells. It must be safe to call again after it ran out of memory.
    lengths
        Tokens of each cell, shape (n_cells,).
    batch_tokens
        Tokens a batch, padding included. Halved whenever a batch does not fit, which the log says.
    bar
        Moved by the number of cells done with ``bar.update``.

    Raises
    ------
    RuntimeError
        When one cell alone does not fit; says what to do.
    """
    todo = token_batches(lengths, batch_tokens)
    while todo:
        batch = todo.pop(0)
        if _fits(run, batch):
            if bar is not None:
                bar.update(len(batch))
            continue
        n_tokens = len(batch) * in_steps(int(lengths[batch].max()))
        if len(batch) == 1:
            raise RuntimeError(
                f"Memory does not hold one cell of {n_tokens} tokens. Free memory, or run with device='cpu' or "
                "dtype='bfloat16'."
            )
        batch_tokens = n_tokens // 2
        _log.warning(f"out of memory with {n_tokens} tokens a batch: going on with {batch_tokens}.")
        left = np.concatenate([batch, *todo])
        todo = [left[part] for part in token_batches(lengths[left], batch_tokens)]


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
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    from accelerate.utils.memory import should_reduce_batch_size

    return should_reduce_batch_size(error) or "out of memory" in str(error)
