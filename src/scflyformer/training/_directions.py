"""The linear part of the profile encoder, from two halves of each cell's counts, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg

from scflyformer.training._halves import half_profiles, value_profiles, whole_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflyformer.training._store import TokenStore

MOST_CELLS, MOST_GENES = 200_000, 6_000
"""Bounds on what the covariances are taken over: further cells add little, and genes cost their square in memory."""
LEAST_CELLS = 3
"""Genes that fewer cells express get no weight."""
_CHUNK_CELLS = 2048
_SMALL = 1500
"""Up to so many genes all eigenvectors are computed, which is exact and as fast."""


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions of expression, and what was measured along them.

    Attributes
    ----------
    weights
        What a gene's value adds to each direction, float32, shape (n_genes, n_directions), the largest signal first.
    centre
        Mean value of each gene over the cells of the data sets that measured it, float32, shape (n_genes,).
    spread
        Standard deviation of the cells along each direction within their data sets, shape (n_directions,).
    reliability
        Correlation of each gene's values between halves, 0 where it is not known, shape (n_genes,).
    """

    weights: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    reliability: np.ndarray


def reliable_directions(
    store: TokenStore, cells: np.ndarray, size: int, *, most_genes: int | None = None, seed: int
) -> Directions:
    """Return directions of expression space in which two halves of a cell's counts agree most.

    Each cell's counts are split binomially in two. Noise of counting is independent between the halves, so their
    cross-covariance is that of the signal. Genes are weighted by the root of their reliability, the correlation between
    the halves, and are not standardised. The directions are eigenvectors of the signal, each multiplied by its share of
    signal in the variance of whole cells, so that a direction of noise stays small. Data sets are centred each by
    itself; the covariance of two genes is taken over the data sets that measured both.

    At most 200,000 of ``cells``, positions in the store, are used; at most ``most_genes`` genes are read, the most
    reliable ones, 6,000 where `None`. ``size`` is the number of directions, at most that of genes.
    """
    random = np.random.default_rng(seed)
    cells = subsample_cells(cells, MOST_CELLS, random)
    sources = [cells[store.source[cells] == source] for source in np.unique(store.source[cells])]
    panels = store.panels[[store.source[cells_of[0]] for cells_of in sources]]
    n_cells = np.array([len(cells_of) for cells_of in sources])
    reliability, centre = gene_statistics(store, sources, panels, random)
    genes = np.sort(np.argsort(-reliability, kind="stable")[: most_genes or MOST_GENES])
    root = np.sqrt(reliability[genes])
    signal, whole = np.zeros((2, len(genes), len(genes)))
    for cells_of, panel in zip(sources, panels[:, genes], strict=True):
        between, within = _covariances(store, cells_of, genes[panel], root[panel], random)
        at = np.ix_(panel, panel)
        signal[at] += between
        whole[at] += within
    pairs = np.maximum((panels[:, genes] * n_cells[:, None]).T.astype(float) @ panels[:, genes], 1)
    signal, whole = (signal + signal.T) / (2 * pairs), whole / pairs
    strength, vectors = _leading(signal, min(size, len(genes)))
    variance = np.maximum(np.einsum("gk,gk->k", whole @ vectors, vectors), 1e-12)
    share = np.clip(strength / variance, 0, 1)
    weights = np.zeros((store.panels.shape[1], size), dtype=np.float32)
    weights[genes, : vectors.shape[1]] = vectors * share * root[:, None]
    spread = np.zeros(size)
    spread[: vectors.shape[1]] = share * np.sqrt(variance)
    return Directions(weights, centre, spread, reliability)


def subsample_cells(cells: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Return ``cells``, or ``most`` of them in their order where there are more."""
    return cells if len(cells) <= most else np.sort(random.choice(cells, most, replace=False))


def gene_statistics(
    store: TokenStore, sources: list[np.ndarray], panels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return each gene's reliability and mean value; see :class:`Directions`.

    ``sources`` are the cells of each data set, positions in the store, and ``panels`` the genes that each measured,
    bool, shape (n_sources, n_genes).
    """
    n_genes = store.panels.shape[1]
    between, squares = np.zeros(n_genes), np.zeros((2, n_genes))
    total, expressed = np.zeros(n_genes), np.zeros(n_genes)
    for cells_of in sources:
        sums, product, square = np.zeros((3, n_genes)), np.zeros(n_genes), np.zeros((2, n_genes))
        for full, *halves in profiles(store, cells_of, random):
            sums += [part.sum(0) for part in (full, *halves)]
            product += np.einsum("cg,cg->g", *halves)
            square += [np.einsum("cg,cg->g", part, part) for part in halves]
            expressed += (full > 0).sum(0)
        total += sums[0]
        between += product - sums[1] * sums[2] / len(cells_of)
        squares += square - sums[1:] ** 2 / len(cells_of)
    spread = np.sqrt(np.maximum(squares[0] * squares[1], 0))
    reliability = np.divide(between, spread, out=np.zeros(n_genes), where=spread > 1e-9).clip(0, 1)
    reliability[expressed < LEAST_CELLS] = 0
    measured = (panels * np.array([[len(cells_of)] for cells_of in sources])).sum(0)
    return reliability, (total / np.maximum(measured, 1)).astype(np.float32)


def _covariances(
    store: TokenStore, cells: np.ndarray, genes: np.ndarray, root: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of products of weighted genes about their means: between halves, and of whole cells."""
    between, within = np.zeros((2, len(genes), len(genes)))
    sums = np.zeros((3, len(genes)))
    weight = root.astype(np.float32)
    for parts in profiles(store, cells, random):
        full, first, second = (part[:, genes] * weight for part in parts)
        between += first.T @ second
        within += full.T @ full
        sums += [full.sum(0), first.sum(0), second.sum(0)]
    between -= np.outer(sums[1], sums[2]) / len(cells)
    within -= np.outer(sums[0], sums[0]) / len(cells)
    return between, within


def profiles(
    store: TokenStore, cells: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield values of whole cells and of their halves, each float32, shape (n_cells, n_genes)."""
    for start in range(0, len(cells), _CHUNK_CELLS):
        rows = store.rows(cells[start : start + _CHUNK_CELLS])
        counts = whole_counts(rows, store.medians)
        full = value_profiles(rows, counts, store.medians)
        yield full, *half_profiles(rows, counts, store.medians, random)


def _leading(signal: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues and their vectors, largest first; a vector's largest entry is positive."""
    if len(signal) <= _SMALL:
        values, vectors = linalg.eigh(signal, subset_by_index=[len(signal) - size, len(signal) - 1])
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(signal, k=size, which="LA", v0=np.ones(len(signal)))
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    values, vectors = values[::-1], vectors[:, ::-1]
    peak = np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], axis=0)
    return np.maximum(values, 0), vectors * np.where(peak < 0, -1, 1)
