"""Null sets: genes that stand where the tested genes stand, in the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from scipy import sparse

from scflyformer.perturbation._edit import FOUND_ONLY

if TYPE_CHECKING:
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._gene_sets import GeneSet, Tokens
    from scflyformer.tokens._rows import TokenRows

_POOL = 1.5
"""Null genes are drawn from the nearest ``_POOL * n`` candidates."""
_FEW_NULLS = 20
_DEALS = 5
"""Times that null genes of a set's members are put together anew: some sets repeat a gene, some no cell holds."""


@dataclass(frozen=True)
class NullDraw:
    """How null sets are drawn: for which edit, how many for each set, and the seed."""

    kind: Kind
    n: int
    seed: int


def gene_profile(indptr: np.ndarray, genes: np.ndarray, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each gene stands in ranked cells.

    Parameters
    ----------
    indptr
        Row pointer over cells, shape (n_cells + 1,).
    genes
        Gene index of each entry, in rank order within a cell, shape (nnz,).

    Returns
    -------
    Detection rate (share of cells that hold the gene, 0 to 1) and mean relative rank over these cells (0 first, 1
    last; 1 for a gene that no cell holds), float64, shape (n_genes,) each.
    """
    lengths = np.diff(indptr)
    place = np.arange(len(genes)) - np.repeat(indptr[:-1], lengths)
    relative = place / np.repeat(np.maximum(lengths - 1, 1), lengths)
    count = np.bincount(genes, minlength=n_genes)
    total = np.bincount(genes, weights=relative, minlength=n_genes)
    rank = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    return count / max(len(lengths), 1), rank


def match_nulls(
    detection: np.ndarray, rank: np.ndarray, target: int, candidates: np.ndarray, n: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw at most ``n`` different candidates, never the target, that stand where the target stands; sorted.

    They are drawn from the ``1.5 n`` candidates nearest in detection (arcsine-square-root scale, on which its sampling
    error is alike everywhere) and rank, each divided by its standard deviation over the candidates. All are taken where
    there are no more than ``n``.
    """
    candidates = np.sort(candidates[candidates != target])
    if len(candidates) <= n:
        return candidates
    features = np.column_stack([np.arcsin(np.sqrt(detection)), rank])
    scale = features[candidates].std(0)
    distance = (((features[candidates] - features[target]) / np.where(scale > 0, scale, 1.0)) ** 2).sum(1)
    nearest = candidates[np.argsort(distance, kind="stable")[: int(np.ceil(_POOL * n))]]
    return np.sort(rng.choice(nearest, size=n, replace=False))


def draw_null_sets(
    sets: Sequence[GeneSet],
    rows: TokenRows,
    measured: np.ndarray,
    draw: NullDraw,
    *,
    group: str,
    n_tokens: int,
    exclude_tested: bool = True,
) -> dict[int, list[Tokens]]:
    """Draw null sets for each gene set: every member replaced by a gene that stands alike in the same cells.

    Null sets of a pair are held whole by some cell.

    Parameters
    ----------
    rows
        The cells that are edited.
    measured
        Tokens that occur in the data; edits of any cell draw among them, edits of cells that hold a gene among those in
        ``rows``.
    group
        Name of the cells' group, which has a part in the seed.
    exclude_tested
        Whether tested genes are never drawn, unless hardly any other gene is left.

    Returns
    -------
    Null sets of each place in ``sets``; no entry where no cell holds a gene to edit.
    """
    detection, rank = gene_profile(rows.indptr, rows.tokens, n_tokens)
    found_only = draw.kind in FOUND_ONLY
    eligible = np.flatnonzero(detection > 0) if found_only else measured
    free = np.setdiff1d(eligible, [token for tested in sets for token in tested.tokens]) if exclude_tested else eligible
    if len(free) < min(draw.n, _FEW_NULLS):  # nearly all genes are tested: each stands against all the others
        free = eligible
    drawn: dict[int, list[Tokens]] = {}
    for place, tested in enumerate(sets):
        if found_only and not detection[list(tested.tokens)].any():
            continue
        rng = np.random.default_rng([draw.seed, crc32(group.encode()), *tested.tokens])
        candidates = np.setdiff1d(free, tested.tokens)
        columns = [match_nulls(detection, rank, token, candidates, draw.n, rng) for token in tested.tokens]
        if len(columns) == 1:
            drawn[place] = [(int(gene),) for gene in columns[0]]
            continue
        deals = [[rng.permutation(column) for column in columns] for _ in range(_DEALS)]
        null = np.concatenate([np.column_stack(deal) for deal in deals])
        null = null[[len(set(tokens)) == len(tokens) for tokens in null.tolist()]]
        if tested.is_pair and found_only:
            null = null[_held_whole(rows, null, n_tokens)]
        different = {frozenset(tokens): tuple(tokens) for tokens in reversed(null.tolist())}
        drawn[place] = list(reversed(different.values()))[: draw.n]
    return drawn


def _held_whole(rows: TokenRows, sets: np.ndarray, n_tokens: int) -> np.ndarray:
    """Return which sets, shape (n_sets, width), some cell holds whole."""
    shape, ones = (len(rows), n_tokens), np.ones(len(rows.tokens), dtype=np.float32)
    held = sparse.csr_matrix((ones, rows.tokens, rows.indptr), shape=shape).tocsc()
    whole = np.ones(len(sets), dtype=bool)
    for place, genes in enumerate(sets):
        both = held[:, genes[0]]
        for gene in genes[1:]:
            both = both.multiply(held[:, gene])
        whole[place] = both.nnz > 0
    return whole
