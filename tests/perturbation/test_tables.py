"""Rows of tables follow from what was read off each cell."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import CellGroup
from scflyformer.perturbation._edit_plan import SetReadout, plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._tables import CLOCK_RESULTS, RESULTS, clock_results, shift_columns, summarise

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


def test_columns_of_results_have_an_order() -> None:
    assert len(RESULTS) == len(set(RESULTS)) == 20
    gone = {"p_tail", "fdr_tail", "p_label", "ci_over", "n_start"}
    assert not gone & set(RESULTS) and RESULTS[11:16] == ("n_null", "p_value", "p_states", "fdr", "test")


def test_clock_results_are_what_cells_and_null_genes_say(make_rows: Callable) -> None:
    """Random changes in age: each row is that of its cells, beside its null genes, adjusted over all rows."""
    groups = [CellGroup("first", np.arange(0, 30)), CellGroup("second", np.arange(30, 55))]
    rows = make_rows([20] * 60)
    names = np.array([f"g{n}" for n in range(30)], dtype=object)
    sets = [GeneSet(names[n], (N_SPECIAL + n,)) for n in (3, 8, 14)]
    plan = plan_edits(rows.take(np.arange(55)), groups, sets, NullDraw("delete", 12, 0), names=names)
    changes = np.random.default_rng(1).normal(size=len(plan.copies))
    vocabulary: Any = SimpleNamespace(names=names, gene_ids=np.char.add("F", np.arange(30).astype(str)))
    found = clock_results(plan, changes, SAMPLES, vocabulary)
    assert tuple(found.columns) == CLOCK_RESULTS
    assert found["gene"].tolist() == ["g3", "g3", "g8", "g8", "g14", "g14"]
    by_set = plan.by_set(changes[:, None])
    for row in found.to_dict(orient="records"):
        at = ["first", "second"].index(row["group"])
        number, *null = plan.sets_of_group[at][[gene_set.name for gene_set in sets].index(row["gene"])]
        own = by_set[at][number]
        means = pd.Series(own.values[:, 0]).groupby(SAMPLES[own.cells]).mean()
        assert row["change"] == pytest.approx(means.mean()) and row["n_cells"] == len(own.cells)
        assert row["share_older"] == pytest.approx((own.values > 0).mean())
        beside = np.array([summarise(by_set[at][which], SAMPLES)["shift"] for which in null])
        assert row["effect"] == pytest.approx((row["change"] - beside.mean()) / beside.std(ddof=1))
        far = np.abs(beside - np.median(beside)) >= abs(row["change"] - np.median(beside))
        assert row["p_value"] == pytest.approx((1 + far.sum()) / (1 + len(null))) and row["n_null"] == len(null)
        assert row["gene_id"] == "F" + row["gene"][1:] and row["ci_over"] == "samples"
    assert found["fdr"].to_numpy() == pytest.approx(stats.false_discovery_control(found["p_value"]))
