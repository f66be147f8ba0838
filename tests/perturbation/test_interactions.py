"""An interaction is what both genes do, less what each does, in the cells where all three were run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._cells import CellGroup
from scflyformer.perturbation._edit_plan import plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._interactions import interactions
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._scan_result import ScanResult

A, B = N_SPECIAL + 2, N_SPECIAL + 17
NAMES = np.array([f"g{n}" for n in range(30)], dtype=object)
SAMPLES = np.array([f"s{n % 3}" for n in range(40)])


def test_what_genes_do_together_is_found(make_rows: Callable) -> None:
    """Effects that add up leave nothing, as in all null pairs; what the pair does beyond that is the interaction."""
    rows, random = make_rows([22] * 40), np.random.default_rng(0)
    groups, pair = [CellGroup("all", np.arange(40))], GeneSet("a+b", (A, B), is_pair=True)
    plan = plan_edits(rows, groups, [pair], NullDraw("delete", 10, 0), names=NAMES)
    alone = random.normal(size=(40, 30 + N_SPECIAL))
    cell, number = plan.copies.cells, plan.copies.chosen
    values = [sum(alone[at, list(plan.table.sets[which])]) for at, which in zip(cell, number, strict=True)]
    surplus = np.where([plan.table.sets[which] == (A, B) for which in number], 0.7 + 0.1 * (cell % 3), 0)
    nothing = np.zeros(0)
    result = ScanResult((values + surplus)[:, None], nothing, None, nothing, None)
    (row,) = interactions(plan, result, SAMPLES, NAMES).to_dict(orient="records")

    held = [set(rows.tokens[rows.indptr[at] : rows.indptr[at + 1]]) for at in range(40)]
    both = np.array([at for at in range(40) if {A, B} <= held[at]])
    means = pd.Series(0.7 + 0.1 * (both % 3)).groupby(SAMPLES[both]).mean()
    assert row["interaction"] == pytest.approx(means.mean())
    assert (row["gene"], row["gene_a"], row["gene_b"]) == ("a+b", "g2", "g17")
    assert (row["n_cells"], row["n_samples"], row["n_null"]) == (len(both), 3, 10)
    assert row["null_mean"] == pytest.approx(0, abs=1e-12) and row["p_value"] == pytest.approx(1 / 11)
