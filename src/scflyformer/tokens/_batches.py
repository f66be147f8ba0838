"""Batches of near-equal length under a token budget."""

from __future__ import annotations

import numpy as np

from scflyformer._settings import require_batch_tokens

BATCH_TOKENS = 8192
"""Tokens a batch (cells times longest cell) where nothing else is asked."""
CUDA_BATCH_TOKENS = 65536
"""The same on a graphics card, which takes longer to start the work on a small batch than to do it."""
LENGTH_STEP = 16
"""Batches are padded so that their tokens, with the cell token in front, fill whole steps.

A processor's libraries keep buffers for each shape of matrix that they meet: few shapes, little memory.
"""


def token_batches(lengths: np.ndarray, batch_tokens: int, *, limit: int | None = None) -> list[np.ndarray]:
    """Split cells of ``lengths`` tokens into batches of at most ``batch_tokens`` tokens, padding included.

    A batch counts its cells times its width, see `in_steps`; a wider cell gets a batch of its own. ``limit`` is the
    most tokens a cell may have. Returns the cell positions of each batch, longest batch first so that memory peaks at
    once.
    """
    require_batch_tokens(batch_tokens)
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        batch = order[start : start + max(batch_tokens // in_steps(int(lengths[order[start]]), limit), 1)]
        batches.append(batch)
        start += len(batch)
    return batches


def in_steps(length: int, limit: int | None = None) -> int:
    """Return how wide a batch is whose longest cell has ``length`` tokens: whole steps, at most ``limit``."""
    width = -(-(length + 1) // LENGTH_STEP) * LENGTH_STEP - 1
    return width if limit is None else max(min(width, limit), length)


def pad_rows(
    indptr: np.ndarray, flat: np.ndarray, rows: np.ndarray, fill: float, *, limit: int | None = None
) -> np.ndarray:
    """Return ``rows`` of a ragged array as one matrix, short rows filled at the end.

    The matrix is as wide as the longest row; with ``limit`` as wide as `in_steps` says.
    """
    starts, lengths = indptr[rows], indptr[rows + 1] - indptr[rows]
    longest = int(lengths.max(initial=0))
    column = np.arange(max(longest, 1) if limit is None else in_steps(longest, limit))
    inside = column < lengths[:, None]
    if not len(flat):
        return np.full(inside.shape, fill, dtype=flat.dtype)
    return np.where(inside, flat[np.where(inside, starts[:, None] + column, 0)], flat.dtype.type(fill))
