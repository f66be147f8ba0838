"""What is edited where: gene sets and the null sets beside them, paired with the cells of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit import FOUND_ONLY, Edits, cells_with
from scflyformer.perturbation._gene_sets import SetTable, sets_of_one
from scflyformer.perturbation._null_sets import draw_null_sets

if TYPE_CHECKING:
    from scflyformer.perturbation._cells import CellGroup
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._gene_sets import GeneSet, Tokens
    from scflyformer.perturbation._null_sets import NullDraw
    from scflyformer.tokens._rows import TokenRows

MIN_CELLS = 10
"""Least edited cells of a group that hold a gene, where all genes are asked for."""


@dataclass(frozen=True, eq=False)
class SetReadout:
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


@dataclass(frozen=True, eq=False)
class EditPlan:
    """What is edited where.

    Attributes
    ----------
    groups
        The groups.
    sets
        The gene sets that results are wanted of.
    sets_of_group
        For each group: place in ``sets`` → number in ``table`` of the set, then those of its null sets.
    table
        All different sets, null sets included.
    copies
        The edited copies, by group, set and cell; cells are numbered over all groups, one group after the other.
    ends
        Where each group's copies end.
    """

    groups: Sequence[CellGroup]
    sets: Sequence[GeneSet]
    sets_of_group: list[dict[int, list[int]]]
    table: SetTable
    copies: Edits
    ends: np.ndarray

    @property
    def kind(self) -> Kind:
        """The edit."""
        return self.copies.kind

    @property
    def cells(self) -> np.ndarray:
        """Positions in `obs` of the cells of all groups, one group after the other."""
        return np.concatenate([group.cells for group in self.groups])

    @cached_property
    def _slots(self) -> tuple[np.ndarray, np.ndarray]:
        group_of_cell = np.repeat(np.arange(len(self.groups)), [len(group.cells) for group in self.groups])
        keys = group_of_cell[self.copies.cells] * len(self.table.sets) + self.copies.chosen
        return np.unique(keys, return_inverse=True)

    @property
    def slot(self) -> np.ndarray:
        """Number of the combination of group and set that each copy is of, int64, shape (n_copies,)."""
        return self._slots[1]

    @cached_property
    def slot_of(self) -> dict[tuple[int, int], int]:
        """The number of each combination that is run, by place of the group and number of the set."""
        n = len(self.table.sets)
        return {(int(key // n), int(key % n)): slot for slot, key in enumerate(self._slots[0])}

    def without_cells(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the sets that no cell holds, and the combinations of set and group without a cell, by name."""
        lacking = [
            (gene_set.name, group.name)
            for place, gene_set in enumerate(self.sets)
            for group, in_group in zip(self.groups, self.sets_of_group, strict=True)
            if place not in in_group
        ]
        done = {place for in_group in self.sets_of_group for place in in_group}
        return [gene_set.name for place, gene_set in enumerate(self.sets) if place not in done], lacking

    def by_set(self, values: np.ndarray) -> list[dict[int, SetReadout]]:
        """Cut what was read off the copies, shape (n_copies, n_columns), into one piece a group and set."""
        edited = self.cells[self.copies.cells]
        split = [np.split(array, self.ends[:-1]) for array in (edited, self.copies.chosen, values)]
        return [_by_set(self.table, *of_group) for of_group in zip(*split, strict=True)]


def plan_edits(
    ranked: TokenRows,
    groups: Sequence[CellGroup],
    sets: Sequence[GeneSet] | None,
    nulls: NullDraw,
    *,
    names: np.ndarray,
    dose: float = 1.0,
    measured: np.ndarray | None = None,
    chosen: Sequence[np.ndarray] | None = None,
) -> EditPlan:
    """Choose null sets, and pair cells with the sets to edit in them.

    Parameters
    ----------
    ranked
        The cells of all groups, one group after the other.
    sets
        Gene sets; `None` for every gene that `MIN_CELLS` cells of a group hold, each beside the others of its group.
    names
        Name of each vocabulary gene.
    measured
        Tokens among which genes to switch on are drawn; by default those of ``ranked``.
    chosen
        Places in ``sets`` that are wanted in each group; all by default.
    """
    n_tokens = len(names) + N_SPECIAL
    bounds = np.cumsum([0, *(len(group.cells) for group in groups)])
    parts = [ranked.take(np.arange(first, last)) for first, last in pairwise(bounds)]
    matched_in, eligible = parts, [np.unique(ranked.tokens) if measured is None else measured] * len(groups)
    exclude_tested = sets is not None
    if sets is None:
        eligible = [np.flatnonzero(np.bincount(part.tokens, minlength=n_tokens) >= MIN_CELLS) for part in parts]
        matched_in = [part.select(np.isin(part.tokens, genes)) for part, genes in zip(parts, eligible, strict=True)]
        every = np.unique(np.concatenate(eligible))
        sets = sets_of_one(every, names)
        chosen = [np.searchsorted(every, genes) for genes in eligible]
    table, sets_of_group = SetTable(), []
    for number, (group, part, genes) in enumerate(zip(groups, matched_in, eligible, strict=True)):
        places = range(len(sets)) if chosen is None else [int(place) for place in chosen[number]]
        tested = [sets[place] for place in places]
        drawn = draw_null_sets(
            tested, part, genes, nulls, group=group.name, n_tokens=n_tokens, exclude_tested=exclude_tested
        )
        sets_of_group.append(
            {places[at]: [table.add(tokens) for tokens in (tested[at].tokens, *null)] for at, null in drawn.items()}
        )
    to_run = [{number for numbers in in_group.values() for number in numbers} for in_group in sets_of_group]
    for in_group, run in zip(sets_of_group, to_run, strict=True):
        for place, numbers in in_group.items():
            if sets[place].is_pair:
                run |= {table.add((token,)) for number in numbers for token in table.sets[number]}
    matrix, pairs = table.matrix(), []
    for start, part, run in zip(bounds[:-1], parts, to_run, strict=True):
        cells, which = pair_up(part, matrix, np.array(sorted(run), dtype=np.int64), kind=nulls.kind)
        pairs.append((cells + start, which))
    cells, which = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    ends = np.cumsum([len(cells_of_group) for cells_of_group, _ in pairs])
    return EditPlan(groups, sets, sets_of_group, table, Edits(matrix, cells, which, nulls.kind, dose), ends)


def pair_up(rows: TokenRows, matrix: np.ndarray, chosen: np.ndarray, *, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Return the (cell, set) pairs to run, by set: cells that hold a gene to edit, or all where any cell will do."""
    if kind not in FOUND_ONLY:
        return np.tile(np.arange(len(rows)), len(chosen)), np.repeat(chosen, len(rows))
    cells, place = cells_with(rows, matrix[chosen])
    return cells, chosen[place]


def _by_set(table: SetTable, cells: np.ndarray, which: np.ndarray, values: np.ndarray) -> dict[int, SetReadout]:
    if not len(which):  # a group without a cell that has any of the genes
        return {}
    numbers, starts = np.unique(which, return_index=True)
    pieces = zip(np.split(cells, starts[1:]), np.split(values, starts[1:]), strict=True)
    return {int(number): SetReadout(table.sets[number], *piece) for number, piece in zip(numbers, pieces, strict=True)}
