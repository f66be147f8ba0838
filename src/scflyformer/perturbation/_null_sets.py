"""Null sets: genes that stand where the tested genes stand, in the same cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from scipy import sparse

from scflyformer import _log
from scflyformer._words import some_names
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit import FOUND_ONLY

if TYPE_CHECKING:
    import pandas as pd

    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._gene_sets import GeneSet, Tokens
    from scflyformer.tokens._rows import TokenRows

CALIPER = 2.0
"""Most that a null gene differs in each feature, in standard deviations over the candidates."""
SHARE = 0.05
"""Most of the candidates that are null genes of one gene, or `LEAST_NULLS` where that is more."""
LEAST_NULLS = 20
_DEALS = 5
"""Times that null genes of a set's members are put together anew: some sets repeat a gene, some no cell holds."""


@dataclass(frozen=True)
class NullDraw:
    """How null sets are drawn.

    Attributes
    ----------
    kind
        The edit.
    n
        Most null sets of each set.
    seed
        Seed of how null genes are put together to sets.
    sizes
        How far one unit of each token's value moves a cell, shape (n_tokens,); `None` where that is not known.
    """

    kind: Kind
    n: int
    seed: int
    sizes: np.ndarray | None = None


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


def gene_features(rows: TokenRows, n_tokens: int, nulls: NullDraw) -> np.ndarray:
    """Return what null genes are matched on, float64, shape (n_tokens, 3).

    Detection rate (arcsine-square-root scale, on which its sampling error is alike everywhere), mean relative rank, and
    the logarithm of how far the edit moves a cell to first order: the mean value in the cells that hold the gene
    (1 for edits of any cell, where the gene takes another's value), times ``nulls.sizes``.
    """
    detection, rank = gene_profile(rows.indptr, rows.tokens, n_tokens)
    move = np.ones(n_tokens)
    if nulls.kind in FOUND_ONLY:
        count = np.bincount(rows.tokens, minlength=n_tokens)
        total = np.bincount(rows.tokens, weights=np.maximum(rows.values, 0), minlength=n_tokens)
        move = total / np.maximum(count, 1)
    if nulls.sizes is not None:
        move = move * nulls.sizes
    least = move[move > 0].min(initial=1.0)
    return np.column_stack([np.arcsin(np.sqrt(detection)), rank, np.log(np.maximum(move, least))])


def match_nulls(features: np.ndarray, target: int, candidates: np.ndarray, n: int) -> np.ndarray:
    """Return the candidates, never the target, that stand nearest to where the target stands; sorted.

    Features, shape (n_tokens, n_features), are divided by their standard deviation over the candidates. None further
    than `CALIPER` in any is taken, and at most ``n``, and at most `SHARE` of the candidates (or `LEAST_NULLS` where
    that is more).
    """
    candidates = np.sort(candidates[candidates != target])
    if n == 0 or not len(candidates):
        return candidates[:0]
    scale = features[candidates].std(0)
    apart = np.abs(features[candidates] - features[target]) / np.where(scale > 0, scale, 1.0)
    near = np.flatnonzero((apart <= CALIPER).all(1))
    most = min(n, most_nulls(len(candidates)))
    return np.sort(candidates[near[np.argsort((apart[near] ** 2).sum(1), kind="stable")[:most]]])


def most_nulls(n_candidates: int) -> int:
    """Return the most null genes that are taken from among so many candidates."""
    return max(LEAST_NULLS, int(SHARE * n_candidates))


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
    """Choose null sets for each gene set: every member replaced by a gene that stands alike in the same cells.

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
    features = gene_features(rows, n_tokens, draw)
    held = np.bincount(rows.tokens, minlength=n_tokens) > 0
    found_only = draw.kind in FOUND_ONLY
    eligible = np.flatnonzero(held) if found_only else measured
    free = np.setdiff1d(eligible, [token for tested in sets for token in tested.tokens]) if exclude_tested else eligible
    if len(free) < min(draw.n, LEAST_NULLS):  # nearly all genes are tested: each stands against all the others
        free = eligible
    drawn: dict[int, list[Tokens]] = {}
    for place, tested in enumerate(sets):
        if found_only and not held[list(tested.tokens)].any():
            continue
        candidates = np.setdiff1d(free, tested.tokens)
        columns = [match_nulls(features, token, candidates, draw.n) for token in tested.tokens]
        if len(columns) == 1:
            drawn[place] = [(int(gene),) for gene in columns[0]]
            continue
        rng = np.random.default_rng([draw.seed, crc32(group.encode()), *tested.tokens])
        length = max(map(len, columns)) if all(map(len, columns)) else 0
        deals = [[rng.permutation(np.resize(column, length)) for column in columns] for _ in range(_DEALS)]
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


def token_sizes(network: CellBert) -> np.ndarray | None:
    """Return how far one unit of each token's value moves the profile code's linear part; `None` without a code.

    Shape (n_tokens,), 1 for special tokens.
    """
    if network.profile_encoder is None:
        return None
    import torch

    with torch.inference_mode():
        rows = network.profile_encoder.rows(torch.arange(network.n_genes, device=network.device))
        return np.concatenate([np.ones(N_SPECIAL), rows.norm(dim=1).double().cpu().numpy()])


def warn_of_few(results: pd.DataFrame, n_genes: int, n_null: int) -> None:
    """Warn of genes that stand beside fewer null genes than were asked for and the panel has room for."""
    rows = results[(results["readout"] == "shift") & (results["n_null"] < min(n_null, most_nulls(n_genes)))]
    if len(rows):
        fewest, most = int(rows["n_null"].min()), int(rows["n_null"].max())
        number, floor = (f"{most}", "") if fewest == most else (f"{fewest} to {most}", f"{1 / (1 + fewest):.2g} to ")
        _log.warning(
            f"perturb: {some_names(list(dict.fromkeys(rows['gene'])))}: only {number} genes are like it in detection, "
            f"rank and size of the move, so that the smallest possible p_value is {floor}{1 / (1 + most):.2g}."
        )
