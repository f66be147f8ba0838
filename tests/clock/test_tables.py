"""The tables of a clock run are those of its predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import mean_absolute_error, r2_score

from scflyformer.clock._fit import ClockOptions, fit_clocks
from scflyformer.clock._tables import clock_tables
from scflyformer.clock._units import Cells

FEATURES = ["embedding", "expression", "mean"]
GENES = np.array([f"g{n}" for n in range(6)])


@pytest.fixture(scope="module")
def tables() -> dict:
    """Of fifteen samples, three of each age, and one group; the expression's first two genes follow age."""
    random = np.random.default_rng(0)
    code = np.repeat(np.arange(15), np.arange(8, 23))
    ages = np.array([0.0, 3, 10, 30, 50])[code % 5]
    log_age = np.log2(ages + 1)[:, None]
    x = random.normal(size=(len(code), 3)) + log_age * [0.7, 0, 0]
    counts = random.poisson(np.exp(1.5 + log_age * np.array([0.3, -0.3, 0, 0, 0, 0])))
    blocks = {"embedding": x.astype(np.float32), "expression": sparse.csr_matrix(np.log1p(counts), dtype=np.float32)}
    names = np.array([f"cell{n}" for n in range(len(code))], dtype=object)
    cells = Cells(names, ages, np.array([f"lib{n}" for n in code], dtype=object), blocks)
    groups = np.where(code < 5, "half", None)
    clocks, skipped = fit_clocks(cells, groups, ClockOptions(("embedding", "expression")), min_cells=20)
    return clock_tables(clocks, skipped, "embedding", "log2(age + 1)", GENES) | {"cells": cells}


def test_a_row_for_each_group_and_feature_set(tables: dict) -> None:
    results = tables["results"].set_index(["group", "features"])
    assert list(results.index) == [(group, name) for group in ("all", "half") for name in FEATURES]
    predictions, samples = tables["predictions"], tables["cells"].samples
    for group in ("all", "half"):
        own = predictions[predictions["group"] == group]
        assert own["sample"].astype(str).tolist() == samples[: len(own)].tolist()
        for name in FEATURES:
            row = results.loc[(group, name)]
            assert row["r2"] == pytest.approx(r2_score(np.log2(own["age"] + 1), np.log2(own[name] + 1)))
            assert row["mae"] == pytest.approx(mean_absolute_error(own["age"], own[name]))
            assert (row["n_cells"], row["n_samples"]) == (len(own), 15 if group == "all" else 5)
            if group == "all":
                assert row["coverage_lowest"] <= row["coverage"] <= 1 and row["width"] > 0
            else:
                assert np.isnan([row["coverage"], row["width"]]).all()
    assert tables["no_interval"]["group"].tolist() == ["half"]


def test_gains_are_differences_of_scores(tables: dict) -> None:
    results = tables["results"].set_index(["group", "features"])
    for group in ("all", "half"):
        own, other = results.loc[(group, "embedding")], results.loc[(group, "expression")]
        assert np.isnan(own["r2_gain"])
        for score in ("r2", "spearman", "mae"):
            assert other[f"{score}_gain"] == pytest.approx(own[score] - other[score])
            assert other[f"{score}_gain_low"] <= other[f"{score}_gain"] <= other[f"{score}_gain_high"]
    said = tables["verdict"]
    assert len(said) == 2 and said[0].startswith("embedding below expression in R²")
    assert said[1].startswith("embedding above mean in R²") and "Spearman" not in said[1]


def test_bias_of_each_age_is_the_mean_over_samples(tables: dict) -> None:
    predictions, per_age = tables["predictions"], tables["per_age"].set_index(["group", "features", "age"])
    for (group, name, age), row in per_age.iterrows():
        there = predictions[(predictions["group"] == group) & (predictions["age"] == age)]
        off = (there[name] - age).groupby(there["sample"].astype(str))
        assert row["bias"] == pytest.approx(off.mean().mean())
        assert row["mae"] == pytest.approx(off.apply(lambda values: values.abs().mean()).mean())
        assert (row["n_cells"], row["n_samples"]) == (len(there), off.ngroups)
    assert len(per_age) == 2 * 3 * 5


def test_genes_that_follow_age_lead(tables: dict) -> None:
    genes = tables["genes"].pipe(lambda table: table[table["group"] == "all"])
    assert sorted(genes["gene"][:2]) == ["g0", "g1"] and len(genes) == len(GENES)
    first = genes.set_index("gene")
    assert first.loc["g0", "weight"] > 0 > first.loc["g1", "weight"]
    assert (first.loc[["g0", "g1"], "same_sign"] == 1).all() and (first["weight_sd"] >= 0).all()
    assert isinstance(tables["skipped"], pd.DataFrame) and not len(tables["skipped"])
