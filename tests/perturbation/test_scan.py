"""The scan pairs cells with the gene sets to edit in them, and deals what was read off back to sets and groups."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.perturbation._scan import MIN_CELLS, GeneSet, Pool, SetTable, pair_up, plan_scan, telling_names
from scflyformer.tokens._rows import TokenRows

NAMES = np.array([f"g{n}" for n in range(30)], dtype=object)
A, B, C = (N_SPECIAL + n for n in (4, 9, 21))
SETS = [GeneSet("a", (A,)), GeneSet("a+b", (A, B)), GeneSet("c", (C,))]
POOLS = [Pool("first", np.arange(10, 35)), Pool("second", np.arange(50, 65))]


@pytest.fixture
def ranked(make_rows: Callable) -> TokenRows:
    """Forty cells, those of the first group and then those of the second."""
    return make_rows(np.random.default_rng(0).integers(5, 25, 40).tolist())


def _held(rows: TokenRows) -> list[set[int]]:
    """Return the tokens of each cell."""
    return [set(rows.tokens[start:stop].tolist()) for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False)]


def test_a_set_that_comes_twice_has_one_number() -> None:
    table = SetTable()
    assert [table.add(tokens) for tokens in [(5,), (7, 5), (5,), (5, 7)]] == [0, 1, 0, 2]
    assert table.matrix().tolist() == [[5, PAD], [7, 5], [5, 7]]


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
    scan = plan_scan(ranked, POOLS, SETS, names=NAMES, kind=kind, n_null=8, seed=0)
    cell, number = scan.pairs
    found = scan.by_set(np.stack([scan.cells[cell], number], axis=1).astype(float))
    asked = np.concatenate([pool.cells for pool in POOLS])
    held = dict(zip(asked.tolist(), _held(ranked), strict=True))
    assert sum(len(one.cells) for shifts in found for one in shifts.values()) == len(cell)
    for group, (pool, shifts, wanted) in enumerate(zip(POOLS, found, scan.wanted, strict=True)):
        assert {at for numbers in wanted.values() for at in numbers} == set(shifts)
        for at, one in shifts.items():
            there = [place for place in pool.cells if kind == "overexpress" or held[place] & set(one.tokens)]
            assert one.cells.tolist() == there and one.tokens == scan.table.sets[at]
            np.testing.assert_array_equal(one.values, np.stack([one.cells, np.full(len(there), at)], axis=1))
            own = (scan.group[cell] == group) & (number == at)
            assert set(scan.slot[own]) == {scan.slot_of[group, at]}


def test_null_sets_stand_in_for_every_gene_of_a_set(ranked: TokenRows) -> None:
    """As many genes, none of them tested, different ones; the same for a seed and others for another."""
    plans = [plan_scan(ranked, POOLS, SETS, names=NAMES, kind="delete", n_null=8, seed=seed) for seed in (0, 0, 1)]
    nulls = [
        [[plan.table.sets[at] for at in wanted[place][1:]] for wanted in plan.wanted for place in sorted(wanted)]
        for plan in plans
    ]
    assert nulls[0] == nulls[1] != nulls[2]
    for place, drawn in enumerate(nulls[0]):
        tested = SETS[place % len(SETS)].tokens
        assert len(drawn) == len(set(map(frozenset, drawn))) == 8
        assert all(len(set(one)) == len(tested) and not set(one) & {A, B, C} for one in drawn)


def test_all_genes_that_enough_cells_hold(ranked: TokenRows) -> None:
    scan = plan_scan(ranked, POOLS, None, names=NAMES, kind="delete", n_null=3, seed=0)
    held = _held(ranked)
    for wanted, cells in zip(scan.wanted, (held[:25], held[25:]), strict=True):
        counts = [sum(gene + N_SPECIAL in cell for cell in cells) for gene in range(30)]
        expected = {NAMES[gene] for gene, count in enumerate(counts) if count >= MIN_CELLS}
        assert {scan.sets[place].name for place in wanted} == expected
    assert 0 < len(scan.wanted[1]) < len(scan.wanted[0])


def test_sets_that_no_cell_holds_are_told(ranked: TokenRows) -> None:
    lacking = ranked.select(~((ranked.tokens == A) & (np.repeat(np.arange(40), ranked.lengths) < 25)))
    lacking = lacking.select(lacking.tokens != C)
    scan = plan_scan(lacking, POOLS, [SETS[0], SETS[2]], names=NAMES, kind="delete", n_null=0, seed=0)
    nowhere, combinations = scan.without_cells()
    assert nowhere == ["c"]
    assert sorted(combinations) == [("a", "first"), ("c", "first"), ("c", "second")]


def test_genes_of_one_name_go_by_their_ids() -> None:
    names, ids = np.array(["a", "b", "a"], dtype=object), np.array(["F1", "F2", "F3"])
    assert telling_names(SimpleNamespace(names=names, gene_ids=ids)).tolist() == ["F1", "b", "F3"]
