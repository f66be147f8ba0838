"""Cells are paired with the gene sets to edit in them, and what was read off goes back to sets and groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.perturbation._cells import CellGroup
from scflyformer.perturbation._edit_plan import MIN_CELLS, pair_up, plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.tokens._rows import TokenRows

NAMES = np.array([f"g{n}" for n in range(30)], dtype=object)
A, B, C = (N_SPECIAL + n for n in (4, 9, 21))
SETS = [GeneSet("a", (A,)), GeneSet("a+b", (A, B)), GeneSet("c", (C,))]
GROUPS = [CellGroup("first", np.arange(10, 35)), CellGroup("second", np.arange(50, 65))]


@pytest.fixture
def ranked(make_rows: Callable) -> TokenRows:
    """Forty cells, those of the first group and then those of the second."""
    return make_rows(np.random.default_rng(0).integers(5, 25, 40).tolist())


def _held(rows: TokenRows) -> list[set[int]]:
    """Return the tokens of each cell."""
    return [set(rows.tokens[start:stop].tolist()) for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False)]


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_pairs_equal_a_loop(ranked: TokenRows, kind: str) -> None:
    """Genes are taken out of cells that hold one of the set, and put into every cell."""
    matrix, chosen = np.array([[A, PAD], [A, B], [C, PAD]]), np.array([1, 2])
    cells, which = pair_up(ranked, matrix, chosen, kind=kind)
    expected = [
        (cell, number)
        for number in chosen
        for cell, held in enumerate(_held(ranked))
        if kind == "overexpress" or held & set(matrix[number].tolist()) - {PAD}
    ]
    assert list(zip(cells, which, strict=True)) == expected


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
def test_every_copy_comes_back_to_its_set_and_group(ranked: TokenRows, kind: str) -> None:
    plan = plan_edits(ranked, GROUPS, SETS, NullDraw(kind, 8, 0), names=NAMES)
    cell, number = plan.copies.cells, plan.copies.chosen
    readouts = plan.by_set(np.stack([plan.cells[cell], number], axis=1).astype(float))
    asked = np.concatenate([group.cells for group in GROUPS])
    group_of_cell = np.repeat([0, 1], [len(group.cells) for group in GROUPS])
    held = dict(zip(asked.tolist(), _held(ranked), strict=True))
    assert sum(len(readout.cells) for of_group in readouts for readout in of_group.values()) == len(cell)
    for at, (group, of_group, in_group) in enumerate(zip(GROUPS, readouts, plan.sets_of_group, strict=True)):
        assert {which for numbers in in_group.values() for which in numbers} == set(of_group)
        for which, readout in of_group.items():
            there = [place for place in group.cells if kind == "overexpress" or held[place] & set(readout.tokens)]
            assert readout.cells.tolist() == there and readout.tokens == plan.table.sets[which]
            expected = np.stack([readout.cells, np.full(len(there), which)], axis=1)
            np.testing.assert_array_equal(readout.values, expected)
            copies = (group_of_cell[cell] == at) & (number == which)
            assert set(plan.slot[copies]) == {plan.slot_of[at, which]}


def test_null_sets_stand_in_for_every_gene_of_a_set(ranked: TokenRows) -> None:
    """As many genes, none of them tested, different ones. A seed only says how null genes are put together to sets."""
    plans = [plan_edits(ranked, GROUPS, SETS, NullDraw("delete", 8, seed), names=NAMES) for seed in (0, 0, 1)]
    nulls = [
        [[plan.table.sets[at] for at in in_group[place][1:]] for in_group in plan.sets_of_group for place in range(3)]
        for plan in plans
    ]
    assert nulls[0] == nulls[1]
    for place, (drawn, other) in enumerate(zip(nulls[0], nulls[2], strict=True)):
        tested = SETS[place % len(SETS)].tokens
        assert (drawn == other) == (len(tested) == 1)
        assert 0 < len(drawn) == len(set(map(frozenset, drawn))) <= 8
        assert all(len(set(null)) == len(tested) and not set(null) & {A, B, C} for null in drawn)


def test_all_genes_that_enough_cells_hold(ranked: TokenRows) -> None:
    plan = plan_edits(ranked, GROUPS, None, NullDraw("delete", 3, 0), names=NAMES)
    held = _held(ranked)
    for in_group, cells in zip(plan.sets_of_group, (held[:25], held[25:]), strict=True):
        counts = [sum(gene + N_SPECIAL in cell for cell in cells) for gene in range(30)]
        expected = {NAMES[gene] for gene, count in enumerate(counts) if count >= MIN_CELLS}
        assert {plan.sets[place].name for place in in_group} == expected
    assert 0 < len(plan.sets_of_group[1]) < len(plan.sets_of_group[0])


def test_sets_that_no_cell_holds_are_told(ranked: TokenRows) -> None:
    lacking = ranked.select(~((ranked.tokens == A) & (np.repeat(np.arange(40), ranked.lengths) < 25)))
    lacking = lacking.select(lacking.tokens != C)
    plan = plan_edits(lacking, GROUPS, [SETS[0], SETS[2]], NullDraw("delete", 0, 0), names=NAMES)
    nowhere, combinations = plan.without_cells()
    assert nowhere == ["c"]
    assert sorted(combinations) == [("a", "first"), ("c", "first"), ("c", "second")]
