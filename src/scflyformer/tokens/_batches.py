"""Batches of near-equal length under a token budget."""

from __future__ import annotations

import numpy as np

BATCH_TOKENS = 8192
"""Tokens a batch (cells times longest cell) where nothing else is asked."""


def token_batches(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Split cells into batches of at most ``batch_tokens`` tokens, padding included.

    Parameters
    ----------
    lengths
        Tokens per cell, shape (n_cells,).
    batch_tokens
        The budget: cells times the longest cell of the batch. A longer cell gets a batch of its own.

    Returns
    -------
    Cell positions of each batch, longest batch first so that memory peaks at once. Where most of a batch has one
    length, the batch ends with it: nothing is padded and no mask is needed.

    Raises
    ------
    ValueError
        When ``batch_tokens`` is not a whole number above 0.
    """
    if not hasattr(batch_tokens, "__index__") or isinstance(batch_tokens, bool) or batch_tokens < 1:
        raise ValueError(f"batch_tokens={batch_tokens!r} must be 'auto' or a whole number of at least 1.")
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        batch = order[start : start + max(batch_tokens // longest, 1)]
        n_equal = int(np.count_nonzero(lengths[batch] == lengths[batch[0]]))
        if 2 * n_equal >= len(batch):
            batch = batch[:n_equal]
        batches.append(batch)
        start += len(batch)
    return batches


def pad_rows(indptr: np.ndarray, flat: np.ndarray, rows: np.ndarray, fill: float) -> np.ndarray:
    """Return ``rows`` of a ragged array as one matrix, shape (len(rows), longest), short rows filled at the end."""
    starts, lengths = indptr[rows], indptr[rows + 1] - indptr[rows]
    column = np.arange(max(int(lengths.max(initial=0)), 1))
    inside = column < lengths[:, None]
    if not len(flat):
        return np.full(inside.shape, fill, dtype=flat.dtype)
    return np.where(inside, flat[np.where(inside, starts[:, None] + column, 0)], flat.dtype.type(fill))
