"""What is edited where: gene sets and the null sets beside them, paired with the cells of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from scipy import sparse

from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.perturbation._edit import FOUND_ONLY, cells_with
from scflyformer.perturbation._nulls import gene_profile, match_nulls

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._edit import Kind
    from scflyformer.tokens._rows import TokenRows

Tokens = tuple[int, ...]
MIN_CELLS = 10
"""Least edited cells of a group that hold a gene, where all genes are asked for."""
_FEW_NULLS = 20
_DEALS = 5
"""Times that null genes of a set's members are put together anew: some sets repeat a gene, some no cell holds."""


@dataclass(frozen=True, eq=False)
class GeneSet:
    """Genes edited together: a name and the tokens."""

    name: str
    tokens: Tokens


@dataclass(frozen=True, eq=False)
class Shifts:
    """What the edit of one gene set did to the cells of one group.

    Attributes
    ----------
    tokens
        The set.
    cells
        The edited cells, positions in `obs`.
    values
        What was read off each, float64, shape (n_cells, n_columns).
    """

    tokens: Tokens
    cells: np.ndarray
    values: np.ndarray


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


@dataclass(frozen=True, eq=False)
class Pool:
    """The cells of a group that are edited.

    Attributes
    ----------
    name
        The group.
    cells
        Positions in `obs`.
    row
        The row of a clock that dates them, where there is one.
    """

    name: str
    cells: np.ndarray
    row: int = 0


@dataclass(frozen=True, eq=False)
class Scan:
    """What is edited where.

    Attributes
    ----------
    pools
        The groups.
    sets
        The gene sets that results are wanted of.
    wanted
        For each group: place in ``sets`` → number in ``table`` of the set, then those of its null sets.
    table
        All different sets, null sets included.
    pairs
        Cell (position among the cells of all groups, one after the other) and number of each edited copy; by group, set
        and cell.
    ends
        Where each group's pairs end.
    """

    pools: list[Pool]
    sets: list[GeneSet]
    wanted: list[dict[int, list[int]]]
    table: SetTable
    pairs: tuple[np.ndarray, np.ndarray]
    ends: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Positions in `obs` of the cells of all groups, one after the other."""
        return np.concatenate([pool.cells for pool in self.pools])

    @property
    def group(self) -> np.ndarray:
        """Group of each of `cells`."""
        return np.repeat(np.arange(len(self.pools)), [len(pool.cells) for pool in self.pools])

    @cached_property
    def _slots(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self.group[self.pairs[0]] * len(self.table.sets) + self.pairs[1], return_inverse=True)

    @property
    def slot(self) -> np.ndarray:
        """Number of the combination of group and set that each pair is of, int64, shape (n_pairs,)."""
        return self._slots[1]

    @cached_property
    def slot_of(self) -> dict[tuple[int, int], int]:
        """The number of each combination that was run, by group and number of the set."""
        n = len(self.table.sets)
        return {(int(key // n), int(key % n)): at for at, key in enumerate(self._slots[0])}

    def without_cells(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the sets that no cell holds, and the combinations of set and group without a cell, by name."""
        lacking = [
            (one.name, pool.name)
            for place, one in enumerate(self.sets)
            for pool, wanted in zip(self.pools, self.wanted, strict=True)
            if place not in wanted
        ]
        done = {place for wanted in self.wanted for place in wanted}
        return [one.name for place, one in enumerate(self.sets) if place not in done], lacking

    def by_set(self, values: np.ndarray) -> list[dict[int, Shifts]]:
        """Cut what was read off the pairs, shape (n_pairs, n_columns), into one piece a group and set."""
        edited = self.cells[self.pairs[0]]
        split = [np.split(array, self.ends[:-1]) for array in (edited, self.pairs[1], values)]
        return [_by_set(self.table, *own) for own in zip(*split, strict=True)]


def plan_scan(
    ranked: TokenRows,
    pools: Sequence[Pool],
    sets: Sequence[GeneSet] | None,
    *,
    names: np.ndarray,
    kind: Kind,
    n_null: int,
    seed: int,
    measured: np.ndarray | None = None,
    chosen: Sequence[np.ndarray] | None = None,
    members: Sequence[int] = (),
) -> Scan:
    """Choose null sets, and pair cells with the sets to edit in them.

    Parameters
    ----------
    ranked
        The cells of all groups, one group after the other.
    pools
        The groups.
    sets
        Gene sets; `None` for every gene that `MIN_CELLS` cells of a group hold, each beside the others of its group.
    names
        Name of each vocabulary gene.
    kind
        The edit.
    n_null, seed
        Null sets for each set, seed.
    measured
        Tokens among which genes to switch on are drawn; by default those of ``ranked``.
    chosen
        Places in ``sets`` that are wanted in each group; all by default.
    members
        Places in ``sets`` of which each gene is also run by itself, in null sets as well.
    """
    n_tokens = len(names) + N_SPECIAL
    bounds = np.cumsum([0, *(len(pool.cells) for pool in pools)])
    parts = [ranked.take(np.arange(first, last)) for first, last in pairwise(bounds)]
    beside, eligible = parts, [np.unique(ranked.tokens) if measured is None else measured] * len(pools)
    apart = sets is not None
    if not apart:
        eligible = [np.flatnonzero(np.bincount(part.tokens, minlength=n_tokens) >= MIN_CELLS) for part in parts]
        beside = [part.select(np.isin(part.tokens, genes)) for part, genes in zip(parts, eligible, strict=True)]
    if sets is None:
        every = np.unique(np.concatenate(eligible))
        sets = [GeneSet(str(names[gene - N_SPECIAL]), (int(gene),)) for gene in every]
        chosen = [np.searchsorted(every, genes) for genes in eligible]
    table, wanted = SetTable(), []
    for number, (pool, part, genes) in enumerate(zip(pools, beside, eligible, strict=True)):
        own = range(len(sets)) if chosen is None else [int(place) for place in chosen[number]]
        null = draw_nulls(
            [sets[place] for place in own], part, genes, kind=kind, n_tokens=n_tokens, n=n_null, seed=seed,
            group=pool.name, apart=apart, together=[at for at, place in enumerate(own) if place in members],
        )  # fmt: skip
        wanted.append(
            {own[at]: [table.add(one) for one in (sets[own[at]].tokens, *others)] for at, others in null.items()}
        )
    asked = [{number for numbers in wants.values() for number in numbers} for wants in wanted]
    for wants, run in zip(wanted, asked, strict=True):
        for place in set(members) & set(wants):
            run |= {table.add((token,)) for number in wants[place] for token in table.sets[number]}
    matrix, pairs = table.matrix(), []
    for start, part, numbers in zip(bounds[:-1], parts, asked, strict=True):
        cells, which = pair_up(part, matrix, np.array(sorted(numbers), dtype=np.int64), kind=kind)
        pairs.append((cells + start, which))
    together = tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    ends = np.cumsum([len(cells) for cells, _ in pairs])
    return Scan(list(pools), list(sets), wanted, table, (together[0], together[1]), ends)


def telling_names(vocabulary: Vocabulary) -> np.ndarray:
    """Return the reading name of each gene, its id where genes share one."""
    names, counts = np.unique(vocabulary.names, return_counts=True)
    shared = np.isin(vocabulary.names, names[counts > 1])
    return np.where(shared, vocabulary.gene_ids, vocabulary.names).astype(object)


def draw_nulls(
    sets: Sequence[GeneSet],
    pool: TokenRows,
    measured: np.ndarray,
    *,
    kind: Kind,
    n_tokens: int,
    n: int,
    seed: int,
    group: str,
    apart: bool = True,
    together: Sequence[int] = (),
) -> dict[int, list[Tokens]]:
    """Draw null sets for each gene set: every member replaced by a gene that stands alike in the same cells.

    Parameters
    ----------
    sets
        The tested sets.
    pool
        The cells that are edited.
    measured
        Tokens that occur in the data; edits of any cell draw among them, edits of cells that hold a gene among those in
        ``pool``.
    kind, n_tokens, n, seed, group
        The edit, the size of the vocabulary, how many to draw, and what makes the draw reproducible.
    apart
        Whether tested genes are never drawn, unless hardly any other gene is left.
    together
        Places in ``sets`` whose null sets are to be held by some cell whole.

    Returns
    -------
    Null sets of each place in ``sets``; no entry where no cell holds a gene to edit.
    """
    detection, rank = gene_profile(pool.indptr, pool.tokens, n_tokens)
    eligible = np.flatnonzero(detection > 0) if kind in FOUND_ONLY else measured
    free = np.setdiff1d(eligible, [token for one in sets for token in one.tokens]) if apart else eligible
    if len(free) < min(n, _FEW_NULLS):  # nearly all genes are tested: each stands against all the others
        free = eligible
    drawn: dict[int, list[Tokens]] = {}
    for place, one in enumerate(sets):
        if kind in FOUND_ONLY and not detection[list(one.tokens)].any():
            continue
        rng = np.random.default_rng([seed, crc32(group.encode()), *one.tokens])
        candidates = np.setdiff1d(free, one.tokens)
        columns = [match_nulls(detection, rank, token, candidates, n, rng) for token in one.tokens]
        if len(columns) == 1:
            drawn[place] = [(int(gene),) for gene in columns[0]]
            continue
        deals = [[rng.permutation(column) for column in columns] for _ in range(_DEALS)]
        rows = np.concatenate([np.column_stack(deal) for deal in deals])
        rows = rows[[len(set(row)) == len(row) for row in rows.tolist()]]
        if place in together and kind in FOUND_ONLY:
            rows = rows[_held_whole(pool, rows, n_tokens)]
        unlike = {frozenset(row): tuple(row) for row in reversed(rows.tolist())}
        drawn[place] = list(reversed(unlike.values()))[:n]
    return drawn


def _held_whole(pool: TokenRows, sets: np.ndarray, n_tokens: int) -> np.ndarray:
    """Return which sets, shape (n_sets, width), some cell holds whole."""
    shape, ones = (len(pool), n_tokens), np.ones(len(pool.tokens), dtype=np.float32)
    held = sparse.csr_matrix((ones, pool.tokens, pool.indptr), shape=shape).tocsc()
    found = np.ones(len(sets), dtype=bool)
    for place, genes in enumerate(sets):
        both = held[:, genes[0]]
        for gene in genes[1:]:
            both = both.multiply(held[:, gene])
        found[place] = both.nnz > 0
    return found


def pair_up(pool: TokenRows, matrix: np.ndarray, chosen: np.ndarray, *, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return the (cell, set) pairs to run, by set: cells that hold a gene to edit, or all where any cell will do."""
    if kind not in FOUND_ONLY:
        return np.tile(np.arange(len(pool)), len(chosen)), np.repeat(chosen, len(pool))
    cells, place = cells_with(pool, matrix[chosen])
    return cells, chosen[place]


def _by_set(table: SetTable, cells: np.ndarray, which: np.ndarray, values: np.ndarray) -> dict[int, Shifts]:
    if not len(which):  # a group without a cell that has any of the genes
        return {}
    numbers, starts = np.unique(which, return_index=True)
    pieces = zip(np.split(cells, starts[1:]), np.split(values, starts[1:]), strict=True)
    return {int(number): Shifts(table.sets[number], *piece) for number, piece in zip(numbers, pieces, strict=True)}
