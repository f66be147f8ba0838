"""The linear part of the profile encoder, from two halves of each cell's counts, in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from scflyformer.training._extend import gene_abundance
from scflyformer.training._halves import half_profiles, value_profiles, whole_counts

if TYPE_CHECKING:
    from scflyformer.training._store import TokenStore

RIDGE = 0.2
"""Added to each gene's variance, in units of it."""
MOST_CELLS, MOST_GENES = 200_000, 8_192
"""Bounds on what the covariances are taken over: further cells add little, and genes cost their square in memory."""
_CHUNK_CELLS = 4096


def reliable_directions(
    store: TokenStore, cells: np.ndarray, size: int, *, leading: int | None = None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return directions of expression space in which two halves of a cell's counts agree most.

    Each cell's counts are split binomially in two. Noise of counting is independent between the halves, so their
    cross-covariance S is that of the signal; C is the covariance of whole cells. The directions solve
    S v = l (C + ridge) v for the largest shares of signal l, are weighted by l, and are rotated at random, the leading
    ones and the others among themselves, so that each carries a like share: penalties and distances then work on them
    as they are. Data sets are centred each by itself, and genes that one did not measure add nothing there.

    Parameters
    ----------
    store
        Ranked cells.
    cells
        Cells to learn from, positions in the store, shape (n_cells,); at most 200,000 of them are used.
    size
        Number of directions, at most the number of genes.
    leading
        How many of them are to hold the largest shares of signal; all by default.
    seed
        Seed of the halves and of the rotation.

    Returns
    -------
    directions
        Float32, shape (n_genes, size), scaled so that the leading ones have unit variance on average.
    centre
        Mean value of each gene over the cells of the data sets that measured it, float32, shape (n_genes,).
    """
    random = np.random.default_rng(seed)
    n_genes = store.panels.shape[1]
    if len(cells) > MOST_CELLS:
        cells = np.sort(random.choice(cells, MOST_CELLS, replace=False))
    genes = np.arange(n_genes)
    if n_genes > MOST_GENES:
        genes = np.sort(np.argsort(-gene_abundance(store, cells)["cells"], kind="stable")[:MOST_GENES])
    whole = np.zeros((len(genes), len(genes)))
    signal = np.zeros_like(whole)
    total, measured = np.zeros(n_genes), np.zeros(n_genes)
    for source in np.unique(store.source[cells]):
        own = cells[store.source[cells] == source]
        sums = np.zeros((3, n_genes))
        for start in range(0, len(own), _CHUNK_CELLS):
            rows = store.rows(own[start : start + _CHUNK_CELLS])
            counts = whole_counts(rows, store.medians)
            full = value_profiles(rows, counts, store.medians)
            halves = half_profiles(rows, counts, store.medians, random)
            sums += [full.sum(0), halves[0].sum(0), halves[1].sum(0)]
            full, first, second = (part[:, genes] for part in (full, *halves))
            whole += full.T @ full
            signal += first.T @ second
        means = sums[:, genes] / len(own)
        whole -= len(own) * np.outer(means[0], means[0])
        signal -= len(own) * np.outer(means[1], means[2])
        total += sums[0]
        measured += len(own) * store.panels[source]
    spread = np.sqrt(np.maximum(np.diag(whole) / len(cells), 1e-6))
    scale = len(cells) * np.outer(spread, spread)
    signal, whole = (signal + signal.T) / (2 * scale), whole / scale
    span = [max(len(genes) - size, 0), len(genes) - 1]
    shares, found = linalg.eigh(signal, whole + RIDGE * np.eye(len(genes)), subset_by_index=span)
    found = (found * np.maximum(shares, 0))[:, ::-1]  # the largest share first
    leading = min(leading or size, found.shape[1])
    first = found[:, :leading]
    found = found / max(np.sqrt(np.einsum("gk,gk->", whole @ first, first) / leading), 1e-12)
    directions = np.zeros((n_genes, size), dtype=np.float32)
    for part in (slice(0, leading), slice(leading, found.shape[1])):
        n = part.stop - part.start
        rotation = np.linalg.qr(random.standard_normal((n, n)))[0]
        directions[genes, part] = (found[:, part] @ rotation) / spread[:, None]
    return directions, (total / np.maximum(measured, 1)).astype(np.float32)
