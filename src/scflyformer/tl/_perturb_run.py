"""A perturbation run: null sets are drawn, then all edited copies go through the network in one stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from scflyformer.genes._vocabulary import PAD
from scflyformer.stats._nulls import gene_profile, match_nulls
from scflyformer.stats._shift import held_out_centroids
from scflyformer.tokens._edit import cells_with

if TYPE_CHECKING:
    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.network._perturbed import Kind
    from scflyformer.tl._perturb_plan import GeneSet, Group
    from scflyformer.tokens._rows import TokenRows

Tokens = tuple[int, ...]
_FEW_NULLS = 20


@dataclass(frozen=True, eq=False)
class Shifts:
    """Shifts of one gene set in one group.

    Attributes
    ----------
    tokens
        The set.
    cells
        The perturbed cells, positions in `obs`.
    values
        Their shifts towards the goal, the start and each alternative, float64, shape (n_cells, n_states).
    """

    tokens: Tokens
    cells: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Outcome:
    """A tested gene set in one group, and its null sets."""

    one: GeneSet
    group: Group
    shifts: Shifts
    null: list[Shifts]


@dataclass(eq=False)
class SetTable:
    """Different gene sets, numbered; a set that is asked for twice is run once."""

    sets: list[Tokens] = field(default_factory=list)
    number: dict[Tokens, int] = field(default_factory=dict)

    def add(self, tokens: Tokens) -> int:
        """Return the number of a set, new or known."""
        if tokens not in self.number:
            self.number[tokens] = len(self.sets)
            self.sets.append(tokens)
        return self.number[tokens]

    def matrix(self) -> np.ndarray:
        """Return the sets as one matrix, short ones filled with the padding id."""
        out = np.full((len(self.sets), max(map(len, self.sets), default=1)), PAD, dtype=np.int32)
        for row, tokens in enumerate(self.sets):
            out[row, : len(tokens)] = tokens
        return out


def run_groups(
    network: CellBert,
    rows: TokenRows,
    vectors: np.ndarray,
    groups: list[Group],
    sets: list[GeneSet],
    samples: np.ndarray,
    *,
    kind: Kind,
    pooling: Pooling,
    n_tokens: int,
    n_null: int,
    seed: int,
    progress: Callable[..., Any],
    **run: Any,
) -> list[Outcome]:
    """Perturb every gene set in every group, and null sets beside it.

    Parameters
    ----------
    network
        The network.
    rows
        All cells, ranked.
    vectors
        Their embeddings; those of start, goal and alternative cells are used.
    groups, sets
        Where and what to perturb.
    samples
        Sample of each cell; the same everywhere where there are none.
    kind, pooling, n_tokens, n_null, seed
        Edit, pooling, size of the vocabulary with special tokens, null sets per set, seed.
    progress
        Makes the bar, called as ``progress(total=..., desc=..., unit=...)``.
    run
        ``device``, ``dtype`` and ``batch_tokens``.

    Returns
    -------
    One outcome per set and group, sets outermost; none where no cell of a group holds a gene to delete.
    """
    from scflyformer.network._perturbed import perturbed_shifts

    table = SetTable()
    measured = np.unique(rows.tokens)
    asked: list[dict[int, list[int]]] = []
    for group in groups:
        pool = rows.take(group.pool)
        drawn = draw_nulls(sets, pool, measured, kind=kind, n_tokens=n_tokens, n=n_null, seed=seed, group=group.name)
        asked.append({place: [table.add(tokens) for tokens in (sets[place].tokens, *drawn[place])] for place in drawn})

    matrix = table.matrix()
    pool_cells = np.concatenate([group.pool for group in groups])
    pairs, states, centroids = [], [], []
    n_cells = n_centroids = 0
    for group, wanted in zip(groups, asked, strict=True):
        chosen = np.array(sorted({number for numbers in wanted.values() for number in numbers}), dtype=np.int64)
        cells, which = pair_up(rows.take(group.pool), matrix, chosen, kind=kind)
        pairs.append((cells + n_cells, which))
        own, seen = group_centroids(group, vectors, samples)
        states.append(np.where(seen >= 0, seen + n_centroids, -1))
        centroids.append(own)
        n_cells, n_centroids = n_cells + len(group.pool), n_centroids + len(own)
    cells, which = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    if not len(cells):
        return []
    with progress(total=len(cells), desc=f"{kind} genes", unit="cell") as bar:
        values = perturbed_shifts(
            network,
            rows.take(pool_cells),
            matrix,
            (cells, which),
            kind=kind,
            vectors=vectors[pool_cells],
            centroids=np.concatenate(centroids),
            states=np.concatenate(states),
            pooling=pooling,
            bar=bar,
            **run,
        )
    ends = np.cumsum([len(part[0]) for part in pairs])[:-1]
    found: dict[tuple[int, int], Outcome] = {}
    for number, (wanted, own_cells, own_which, own_values) in enumerate(
        zip(asked, *(np.split(array, ends) for array in (pool_cells[cells], which, values)), strict=True)
    ):
        shifts = by_set(table, own_cells, own_which, own_values)
        for place, (tested, *null) in wanted.items():
            found[place, number] = Outcome(
                sets[place], groups[number], shifts[tested], [shifts[one] for one in null if one in shifts]
            )
    return [found[key] for key in sorted(found)]


def draw_nulls(
    sets: list[GeneSet],
    pool: TokenRows,
    measured: np.ndarray,
    *,
    kind: Kind,
    n_tokens: int,
    n: int,
    seed: int,
    group: str,
) -> dict[int, list[Tokens]]:
    """Draw null sets for each gene set: every member replaced by a gene that stands alike in the same cells.

    Parameters
    ----------
    sets
        The tested sets; their genes are never drawn, unless hardly any other gene is left.
    pool
        The cells that are perturbed.
    measured
        Tokens that occur in the data; overexpression draws among them, deletion among those in ``pool``.
    kind, n_tokens, n, seed, group
        The edit, the size of the vocabulary, how many to draw, and what makes the draw reproducible.

    Returns
    -------
    Null sets of each place in ``sets``; no entry where there is nothing to delete.
    """
    detection, rank = gene_profile(pool.indptr, pool.tokens, n_tokens)
    eligible = measured if kind == "overexpress" else np.flatnonzero(detection > 0)
    free = np.setdiff1d(eligible, [token for one in sets for token in one.tokens])
    if len(free) < min(n, _FEW_NULLS):  # nearly all genes are tested: each stands against all the others
        free = eligible
    drawn: dict[int, list[Tokens]] = {}
    for place, one in enumerate(sets):
        if kind == "delete" and not detection[list(one.tokens)].any():
            continue
        rng = np.random.default_rng([seed, crc32(group.encode()), *one.tokens])
        candidates = np.setdiff1d(free, one.tokens)
        columns = [match_nulls(detection, rank, token, candidates, n, rng) for token in one.tokens]
        if len(columns) > 1:
            columns = [rng.permutation(column) for column in columns]
        drawn[place] = [tuple(dict.fromkeys(map(int, row))) for row in zip(*columns, strict=True)]
    return drawn


def pair_up(pool: TokenRows, matrix: np.ndarray, chosen: np.ndarray, *, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return the (cell, set) pairs to run, by set: cells that hold a gene to delete, or all to overexpress it in."""
    if kind == "overexpress":
        return np.tile(np.arange(len(pool)), len(chosen)), np.repeat(chosen, len(pool))
    cells, place = cells_with(pool, matrix[chosen])
    return cells, chosen[place]


def group_centroids(group: Group, vectors: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroids of goal, start and alternatives, and which of them each perturbed cell is held against.

    Returns
    -------
    Centroids, shape (n_centroids, width), and their numbers, shape (n_pool, 2 + n_alt); -1 where there is none. A
    cell's start centroid comes from other samples, or other cells, than its own.
    """
    apart, own = held_out_centroids(vectors[group.start], samples[group.start])
    parts = [vectors[group.goal].astype(np.float64).mean(0, keepdims=True), apart]
    which = np.full((len(group.pool), 2 + len(group.alt)), -1, dtype=np.int64)
    which[:, 0] = 0
    place = own[np.searchsorted(group.start, group.pool)]
    which[:, 1] = np.where(place >= 0, place + 1, -1)
    for number, cells in enumerate(group.alt):
        if len(cells):
            which[:, 2 + number] = sum(map(len, parts))
            parts.append(vectors[cells].astype(np.float64).mean(0, keepdims=True))
    return np.concatenate(parts), which


def by_set(table: SetTable, cells: np.ndarray, which: np.ndarray, values: np.ndarray) -> dict[int, Shifts]:
    """Cut what is ordered by set into one piece per set."""
    if not len(which):  # a group without a cell that has any of the genes
        return {}
    numbers, starts = np.unique(which, return_index=True)
    pieces = zip(np.split(cells, starts[1:]), np.split(values, starts[1:]), strict=True)
    return {int(number): Shifts(table.sets[number], *piece) for number, piece in zip(numbers, pieces, strict=True)}
