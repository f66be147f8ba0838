"""Rows of a perturbation's tables follow from what was read off each cell."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import EmbeddedCells, StateGroup
from scflyformer.perturbation._edit_plan import plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._judge import BOTH, DESCRIPTIVE, NONE, NULL, SCAN
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._p_values import null_p_value
from scflyformer.perturbation._permutation_test import permutation_p_values, permuted_shifts
from scflyformer.perturbation._results import (
    GroupContext,
    cell_table,
    edits_of_groups,
    gene_table,
    join_results,
    null_table,
    permutation_weights,
    result_rows,
)
from scflyformer.perturbation._scan_result import ScanResult
from scflyformer.perturbation._state_samples import state_samples
from scflyformer.perturbation._tables import RESULTS

COLUMNS = ["shift", "net_shift"]
NAMES = np.array([f"g{n}" for n in range(30)], dtype=object)
VOCABULARY = SimpleNamespace(names=NAMES, gene_ids=np.char.add("F", np.arange(30).astype(str)).astype(object))
SAMPLES = np.array([f"s{n % 5}" for n in range(60)] + [f"t{n % 5}" for n in range(20)])
FOLD = np.linspace(-2, 2, 30)


@pytest.fixture
def scan(make_rows: Callable) -> SimpleNamespace:
    """Three genes and a pair in two groups, and what was read off: random numbers. The second group has no test."""
    rows = make_rows([20] * 60)
    goal = np.arange(60, 80)
    groups = [
        StateGroup("first", np.arange(0, 30), np.arange(0, 30), goal, []),
        StateGroup("second", np.arange(30, 55), np.arange(30, 55), goal[:3], []),
    ]
    sets = [GeneSet(NAMES[n], (N_SPECIAL + n,)) for n in (3, 8, 14)]
    sets.append(GeneSet("g5+g6", (N_SPECIAL + 5, N_SPECIAL + 6)))
    plan = plan_edits(rows.take(np.arange(55)), groups, sets, NullDraw("delete", 12, 0), names=NAMES)
    random = np.random.default_rng(1)
    vectors = random.normal(size=(80, 6)).astype(np.float32)
    cells = EmbeddedCells(np.arange(80).astype(str), SAMPLES, None, vectors)
    states = [state_samples(group, cells) for group in groups]
    permuted = [of_group.permuted_goals(n=99, seed=0) if at == 0 else None for at, of_group in enumerate(states)]
    readouts: Any = SimpleNamespace(states=states, permuted=permuted)
    n_slots, n_samples, n_units = (
        plan.slot.max() + 1,
        max(s.n_samples for s in states),
        max(len(s.goal) for s in states),
    )
    values = random.normal(size=(len(plan.copies), 2))
    result = ScanResult(
        values, random.normal(size=(n_slots, n_samples, n_units)), None, random.uniform(1, 2, n_slots), None
    )
    return SimpleNamespace(plan=plan, result=result, readouts=readouts, cells=cells, groups=groups)


def tables(scan: SimpleNamespace) -> dict[str, pd.DataFrame]:
    """Return results, cells and null genes."""
    edits = edits_of_groups(scan.plan, scan.result, scan.readouts)
    parts = [
        result_rows(
            of_group,
            COLUMNS,
            permutation_weights(scan.readouts, at),
            about=gene_table(scan.plan, at, VOCABULARY),
            context=GroupContext(group.name, FOLD + at, 1e-7, at == 0),
            kind="delete",
            scan=False,
        )
        for at, (group, of_group) in enumerate(zip(scan.groups, edits, strict=True))
    ]
    return {
        "results": join_results(parts, COLUMNS, [gene_set.name for gene_set in scan.plan.sets]),
        "cells": cell_table(scan.plan, scan.result, COLUMNS, scan.cells),
        "null": null_table(scan.plan, edits, COLUMNS, VOCABULARY),
    }


def test_results_cells_and_null_genes_agree(scan: SimpleNamespace) -> None:
    """Each row is what its cells say, beside its null genes, scaled to how far the gene moves cells."""
    found = tables(scan)
    results, by_cell, null = found["results"], found["cells"], found["null"]
    assert tuple(results.columns) == RESULTS
    asked = [(readout, gene, group) for readout in COLUMNS for gene in ("g3", "g8", "g14", "g5+g6")
             for group in ("first", "second")]  # fmt: skip
    assert list(zip(*(results[name] for name in ("readout", "gene", "group")), strict=True)) == asked
    plan, size = scan.plan, scan.result.size
    cells_of, nulls_of = (dict(list(table.groupby(["gene", "group"]))) for table in (by_cell, null))
    for row in results.to_dict(orient="records"):
        own, beside = cells_of[row["gene"], row["group"]], nulls_of[row["gene"], row["group"]]
        means = own.groupby("sample")[row["readout"]].mean()
        assert row["shift"] == pytest.approx(means.mean()) and row["n_cells"] == len(own)
        assert (row["n_samples"], row["n_null"]) == (len(means), len(beside))
        interval = stats.ttest_1samp(means, 0).confidence_interval()
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(interval))
        at = ["first", "second"].index(row["group"])
        place = [gene_set.name for gene_set in plan.sets].index(row["gene"])
        tested, *others = (size[plan.slot_of[at, number]] for number in plan.sets_of_group[at][place])
        scaled = beside[row["readout"]].to_numpy() * tested / np.array(others)
        assert row["null_mean"] == pytest.approx(scaled.mean())
        assert row["effect"] == pytest.approx((row["shift"] - scaled.mean()) / scaled.std(ddof=1))
        assert row["p_value"] == pytest.approx(null_p_value(row["shift"], scaled))
        genes = [5, 6] if row["gene"] == "g5+g6" else [int(row["gene"][1:])]
        assert row["gene_id"] == "+".join(f"F{gene}" for gene in genes)
        assert row["log_fc"] == pytest.approx(FOLD[genes].mean() + at)
        assert (row["noise"], row["interpretable"], row["kind"]) == (1e-7, at == 0, "delete")


def test_cells_of_the_table_are_those_that_hold_the_gene(scan: SimpleNamespace) -> None:
    found = tables(scan)["cells"]
    assert found["gene"].drop_duplicates().tolist() == ["g3", "g8", "g14", "g5+g6"]
    for place, gene_set in enumerate(scan.plan.sets):
        for group, in_group, readouts in zip(
            scan.groups, scan.plan.sets_of_group, scan.plan.by_set(scan.result.values), strict=True
        ):
            own = found[(found["gene"] == gene_set.name) & (found["group"] == group.name)]
            expected = readouts[in_group[place][0]]
            assert own["cell"].astype(int).tolist() == expected.cells.tolist()
            assert own["sample"].tolist() == SAMPLES[expected.cells].tolist()
            np.testing.assert_array_equal(own[COLUMNS], expected.values)


def test_a_cell_that_nothing_was_left_of_is_not_listed(scan: SimpleNamespace) -> None:
    before = tables(scan)
    scan.result.values[scan.plan.copies.chosen == 0] = np.nan
    name = next(s.name for s in scan.plan.sets if s.tokens == tuple(scan.plan.table.sets[0]))
    after = tables(scan)
    assert (before["cells"]["gene"] == name).any() and not (after["cells"]["gene"] == name).any()
    row = after["results"][after["results"]["gene"] == name]
    assert (row["n_cells"] == 0).all() and row[["shift", "p_value"]].isna().all(axis=None)


def test_permuted_states_are_those_of_the_group(scan: SimpleNamespace) -> None:
    """p_states of the group with enough samples; none of the other."""
    results = tables(scan)["results"]
    first, second = (results[results["group"] == name] for name in ("first", "second"))
    assert (first["test"] == BOTH).all()
    assert (second["test"] == NULL).all() and second["p_states"].isna().all()
    p_states = first[first["readout"] == "net_shift"].set_index("gene")["p_states"]
    states = scan.readouts.states[0]
    weights = states.weights(scan.readouts.permuted[0])
    for place, in_group in scan.plan.sets_of_group[0].items():
        slot = scan.plan.slot_of[0, in_group[0]]
        dots = scan.result.dots[[slot], : states.n_samples, : len(states.goal)]
        expected = permutation_p_values(permuted_shifts(dots, weights[0] - weights[1]))[0]
        assert p_states[scan.plan.sets[place].name] == pytest.approx(expected)


def test_false_discoveries_are_of_the_larger_p_value_over_the_rows_of_a_readout(scan: SimpleNamespace) -> None:
    results = tables(scan)["results"]
    for _, rows in results.groupby("readout"):
        larger = rows[["p_value", "p_states"]].max(axis=1)
        np.testing.assert_allclose(rows["fdr"], stats.false_discovery_control(larger))
    first = results[results["group"] == "first"]
    assert (first["p_states"] > first["p_value"]).any() and (first["p_states"] < first["p_value"]).any()


def test_rows_with_a_rate_of_their_own_or_no_test_keep_it() -> None:
    """Those of scans are made elsewhere; descriptive rows have none, and take no part in the others'."""
    rows = pd.DataFrame(
        {
            "gene": ["b", "a", "d", "c"],
            "readout": "shift",
            "p_value": [0.01, 0.02, np.nan, np.nan],
            "p_states": [0.03, np.nan, 0.001, np.nan],
            "fdr": [np.nan, np.nan, 0.5, np.nan],
            "test": [BOTH, NULL, SCAN, DESCRIPTIVE],
        }
    )
    found = join_results([rows[:2], rows[:0], rows[2:]], ["shift"], ["a", "b", "c", "d"]).set_index("gene")
    assert list(found.index) == ["a", "b", "c", "d"]
    np.testing.assert_allclose(found["fdr"], [0.03, 0.03, np.nan, 0.5])
    none = join_results([rows.assign(test=NONE)], ["shift"], ["a", "b", "c", "d"]).set_index("gene")
    assert none["fdr"].notna().tolist() == [False, False, False, True]
