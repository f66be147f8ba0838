"""A cell's counts split in two at random: what both halves say of it is the cell, the rest is noise of counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL

if TYPE_CHECKING:
    from scflyformer.tokens._rows import TokenRows


def whole_counts(rows: TokenRows, medians: np.ndarray) -> np.ndarray:
    """Return the counts behind the values of ranked cells, int64, shape (n_tokens,).

    Values are relative to a cell's total; its least expression is taken for one count.
    """
    expression = np.expm1(rows.values.astype(np.float64)) * medians[rows.tokens - N_SPECIAL]
    filled = rows.lengths > 0
    least = np.ones(len(rows))
    if len(expression):
        least[filled] = np.minimum.reduceat(expression, rows.indptr[:-1][filled])
    ratio = expression / np.maximum(np.repeat(least, rows.lengths), 1e-12)
    return np.maximum(np.rint(ratio), 1).astype(np.int64)


def value_profiles(rows: TokenRows, counts: np.ndarray, medians: np.ndarray) -> np.ndarray:
    """Return the values that `counts` of the genes in `rows` would have, float32, shape (n_cells, n_genes).

    The formula is that of :func:`scflyformer.tokens._rank.rank_tokens`.
    """
    genes, cell = rows.tokens - N_SPECIAL, np.repeat(np.arange(len(rows)), rows.lengths)
    median = medians[genes]
    totals = np.bincount(cell, weights=counts, minlength=len(rows))
    expected = np.bincount(cell, weights=median * (counts > 0), minlength=len(rows))
    out = np.zeros((len(rows), len(medians)), dtype=np.float32)
    out[cell, genes] = np.log1p(counts / median * (expected / np.maximum(totals, 1))[cell])
    return out


def half_profiles(
    rows: TokenRows, counts: np.ndarray, medians: np.ndarray, random: np.random.Generator, share: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of two parts of each cell, each of its `counts` going to the first with probability `share`."""
    first = random.binomial(counts, share)
    return value_profiles(rows, first, medians), value_profiles(rows, counts - first, medians)
