"""Rank-value encoding (Theodoris et al. 2023, Nature 618, 616-624)."""

from __future__ import annotations

import sys

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows

_LOW = 0 if sys.byteorder == "little" else 1
"""Which of the two 32-bit halves of a 64-bit integer in memory is the low one."""


def rank_tokens(
    indptr: np.ndarray, genes: np.ndarray, counts: np.ndarray, medians: np.ndarray, *, with_values: bool = True
) -> TokenRows:
    """Order each cell's expressed genes by count over median, highest first.

    ``genes`` holds each gene at most once a cell; ``counts`` are positive, on any scale that is linear within a cell;
    ``medians`` has one entry a vocabulary gene. Values are log1p(x / m * sum(m) / sum(x)), sums over the genes the cell
    expresses. A factor common to a cell's counts changes neither order nor values. ``with_values=False`` leaves
    `TokenRows.values` empty, which takes half the time.

    Notes
    -----
    The key is one 64-bit integer: the bits of the float32 ratio, inverted so that an ascending sort puts the
    highest first, then the token id. Keys are unique, so ties break by vocabulary order on every processor and
    any sorting algorithm gives the same result. The ratio is a true division: genes whose count is the same multiple of
    their median tie, whatever the multiple. Sums of float32 numbers in float64 are exact here, so that the order of the
    input genes has no say in the values.
    """
    indptr = np.asarray(indptr, dtype=np.int64)
    counts = counts.astype(np.float32, copy=False)
    median = medians.astype(np.float32, copy=False).take(genes, mode="clip")
    keys = _sort_keys(counts / median, genes)
    for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
        keys[start:stop].sort()
    halves = keys.view(np.uint32).reshape(-1, 2)
    tokens = halves[:, _LOW].astype(np.int32)
    if not with_values:
        return TokenRows(indptr, tokens, np.empty(0, dtype=np.float32))
    ratio = np.invert(halves[:, 1 - _LOW]).view(np.float32)
    scale = _row_sums(median, indptr) / np.maximum(_row_sums(counts, indptr), np.finfo(np.float64).tiny)
    ratio *= np.repeat(scale.astype(np.float32), np.diff(indptr))
    return TokenRows(indptr, tokens, np.log1p(ratio, out=ratio))


def _sort_keys(ratio: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Pack inverted ratio bits (high half) and token id (low half) into one uint64 an entry."""
    halves = np.empty((len(genes), 2), dtype=np.uint32)
    np.invert(ratio.view(np.uint32), out=halves[:, 1 - _LOW])
    np.add(genes, N_SPECIAL, out=halves[:, _LOW], casting="unsafe")
    return halves.view(np.uint64).ravel()


def _row_sums(entries: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Sum entries row by row in float64; an empty row gives 0."""
    sums = np.zeros(len(indptr) - 1)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(entries.astype(np.float64), indptr[filled])
    return sums
