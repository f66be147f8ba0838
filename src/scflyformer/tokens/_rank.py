"""Rank-value encoding (Theodoris et al. 2023, Nature 618, 616-624)."""

from __future__ import annotations

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows

_TOKEN_BITS = np.uint64(32)
_TOKEN_MASK = np.uint64(0xFFFFFFFF)


def rank_tokens(indptr: np.ndarray, genes: np.ndarray, counts: np.ndarray, medians: np.ndarray) -> TokenRows:
    """Order each cell's expressed genes by count over median, highest first.

    Parameters
    ----------
    indptr
        Row pointer over cells, shape (n_cells + 1,).
    genes
        Vocabulary gene index of each entry, each gene at most once a cell, shape (nnz,).
    counts
        Positive expression of each entry on any scale that is linear within a cell, shape (nnz,).
    medians
        Non-zero median of each vocabulary gene, shape (n_genes,).

    Returns
    -------
    Cells as token ids in rank order, with values log1p(x / m * sum(m) / sum(x)), sums over the genes the cell
    expresses. A factor common to a cell's counts changes neither order nor values.

    Notes
    -----
    The key is one 64-bit integer: the bits of the float32 ratio, inverted so that an ascending sort puts the
    highest first, then the token id. Keys are unique, so ties break by vocabulary order on every processor and
    any sorting algorithm gives the same result.
    """
    indptr = np.asarray(indptr, dtype=np.int64)
    counts = counts.astype(np.float32, copy=False)
    medians = medians.astype(np.float32, copy=False)
    ratio = counts * (np.float32(1) / medians)[genes]
    keys = (~ratio.view(np.uint32)).astype(np.uint64) << _TOKEN_BITS
    keys |= (genes + N_SPECIAL).astype(np.uint64)
    for start, stop in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True):
        keys[start:stop].sort()
    tokens = (keys & _TOKEN_MASK).astype(np.int32)
    ratio = (~(keys >> _TOKEN_BITS).astype(np.uint32)).view(np.float32)
    scale = _row_sums(medians[genes], indptr) / np.maximum(_row_sums(counts, indptr), np.finfo(np.float64).tiny)
    values = np.log1p(ratio * np.repeat(scale.astype(np.float32), np.diff(indptr)))
    return TokenRows(indptr, tokens, values)


def _row_sums(entries: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Sum entries row by row in float64; an empty row gives 0."""
    if len(entries) == 0:
        return np.zeros(len(indptr) - 1)
    starts = np.minimum(indptr[:-1], len(entries) - 1)
    return np.where(np.diff(indptr) > 0, np.add.reduceat(entries.astype(np.float64), starts), 0.0)
