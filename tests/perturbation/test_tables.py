"""Rows of a perturbation's tables follow from what was read off each cell."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import CellGroup, EmbeddedCells
from scflyformer.perturbation._edit_plan import SetReadout, plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._scan_result import ScanResult
from scflyformer.perturbation._tables import make_tables, shift_columns, summarise

SAMPLES = np.array([f"s{n % 5}" for n in range(60)])


def test_a_summary_is_the_t_interval_of_sample_means() -> None:
    random = np.random.default_rng(0)
    cells, values = random.permutation(60)[:40], random.normal(size=(40, 2))
    values[3, 1] = np.nan
    row = summarise(SetReadout((5,), cells, values), SAMPLES, 1)
    means = pd.Series(values[:, 1]).groupby(SAMPLES[cells]).mean()
    assert row["shift"] == pytest.approx(means.mean())
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(stats.ttest_1samp(means, 0).confidence_interval())
    assert (row["n_cells"], row["n_samples"], row["ci_over"]) == (39, 5, "samples")


def test_with_one_sample_the_interval_is_over_cells() -> None:
    values = np.array([[1.0], [3], [np.nan], [8]])
    row = summarise(SetReadout((5,), np.array([0, 5, 10, 15]), values), SAMPLES)
    assert [row["ci_low"], row["ci_high"]] == pytest.approx(stats.ttest_1samp([1, 3, 8], 0).confidence_interval())
    assert (row["shift"], row["n_cells"], row["ci_over"]) == (4, 3, "cells")
    alone = summarise(SetReadout((5,), np.array([0]), np.array([[2.0]])), SAMPLES)
    assert alone["shift"] == 2 and np.isnan(alone["ci_low"])


def test_columns_of_states_can_be_stored_and_differ() -> None:
    assert shift_columns([]) == ["shift", "shift_start"]
    columns = shift_columns(["30 d", "T4/T5", "T4|T5", "start"])
    assert columns[2:] == ["shift_30 d", "shift_T4|T5", "shift_T4|T5_alt", "shift_start_alt"]


def test_results_cells_and_null_genes_agree(make_rows: Callable) -> None:
    """Two readouts of random numbers: each row is what its cells and its null genes say, adjusted by readout."""
    groups = [CellGroup("first", np.arange(0, 30)), CellGroup("second", np.arange(30, 55))]
    rows = make_rows([20] * 60)
    names = np.array([f"g{n}" for n in range(30)], dtype=object)
    sets = [GeneSet(names[n], (N_SPECIAL + n,)) for n in (3, 8, 14)]
    plan = plan_edits(rows.take(np.arange(55)), groups, sets, NullDraw("delete", 12, 0), names=names)
    shifts = plan.by_set(np.random.default_rng(1).normal(size=(len(plan.copies), 2)))
    cells = EmbeddedCells(np.arange(60).astype(str), SAMPLES, rows, np.zeros((60, 1)))
    vocabulary = SimpleNamespace(names=names, gene_ids=np.char.add("F", np.arange(30).astype(str)))
    tables = make_tables(plan, ScanResult(shifts, None, None), ["shift", "age"], cells, vocabulary)
    results, by_cell, null = tables["results"], tables["cells"], tables["null"]
    assert results["readout"].tolist() == ["shift"] * 6 + ["age"] * 6 and len(null) == 6 * 12
    cells_of, nulls_of = (dict(list(table.groupby(["gene", "group"]))) for table in (by_cell, null))
    for row in results.to_dict(orient="records"):
        own, beside = cells_of[row["gene"], row["group"]], nulls_of[row["gene"], row["group"]]
        means = own.groupby("sample")[row["readout"]].mean()
        assert row["shift"] == pytest.approx(means.mean()) and row["n_cells"] == len(own)
        drawn = beside[row["readout"]]
        assert row["effect"] == pytest.approx((row["shift"] - drawn.mean()) / drawn.std())
        far = (drawn - drawn.median()).abs() >= abs(row["shift"] - drawn.median())
        assert row["p_value"] == pytest.approx((1 + far.sum()) / 13)
        assert row["gene_id"] == "F" + row["gene"][1:] and row["n_start"] == (30 if row["group"] == "first" else 25)
    for _, rows_of in results.groupby("readout"):
        assert rows_of["fdr"].to_numpy() == pytest.approx(stats.false_discovery_control(rows_of["p_value"]))
