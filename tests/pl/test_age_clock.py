"""The scatter shows the stored out-of-fold predictions of each feature set, with the stored scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scflyformer as sf

ARMS = ["embedding", "expression", "embedding+expression", "depth", "mean"]


def clocked(adata, *, target="log2(age + 1)", split="sample", interval=True):
    """Write what `tl.age_clock` writes, with known numbers."""
    rng = np.random.default_rng(0)
    ages = adata.obs["age"].to_numpy(dtype=float)
    rows, tables = [], []
    for group, inside in {"all": np.ones(60, bool), "T4/T5": (adata.obs["cell_type"] == "T4/T5").to_numpy()}.items():
        for number, name in enumerate(ARMS):
            row = {"group": group, "features": name, "n_cells": int(inside.sum()), "n_samples": 4, "split": split}
            for score, value in (("r2", 0.5 - number / 10), ("mae", 3.25 + number), ("spearman", 0.6)):
                low, high = (value - 0.125, value + 0.125) if interval else (np.nan, np.nan)
                row |= {score: value, f"{score}_low": low, f"{score}_high": high}
            rows.append(row | {"target": target})
        table = pd.DataFrame({"cell": adata.obs_names, "group": group, "sample": adata.obs["batch"].astype(str)})
        table["age"] = ages
        for name in ARMS:
            table[name] = ages + rng.normal(0, 0.3, 60)
        tables.append(table[inside])
    adata.uns["age_clock"] = {
        "results": pd.DataFrame(rows),
        "predictions": pd.concat(tables, ignore_index=True),
        "params": {"age_key": "age", "sample_key": "batch"},
    }
    return adata


def dots(axis) -> np.ndarray:
    return np.asarray(axis.collections[0].get_offsets())


def test_panels(cells):
    axes = sf.pl.age_clock(clocked(cells), show=False)
    assert [axis.get_title().splitlines()[0] for axis in axes] == ARMS[:3]
    assert "R² 0.50 (0.38 to 0.62)" in axes[0].get_title()
    assert "MAE 4.2 (4.1 to 4.4)" in axes[1].get_title()
    assert "60 cells, 4 samples held out" in axes[0].get_title()
    for axis, name in zip(axes, ARMS, strict=False):
        table = cells.uns["age_clock"]["predictions"].query("group == 'all'")
        np.testing.assert_allclose(dots(axis)[:, 1], table[name])
        on_scale = np.log2(dots(axis)[:, 0] + 1) - np.log2(table["age"] + 1)
        assert np.abs(on_scale).max() <= 0.25 * np.log2(31 / 6) + 1e-9  # spread sideways, but never to another age
    assert len({axis.get_ylim() for axis in axes}) == 1
    assert axes[0].get_ylabel() == "predicted age" and axes[0].get_xlabel() == "age"


def test_means_of_samples_are_on_the_scale_that_was_fitted(cells):
    axis = sf.pl.age_clock(clocked(cells), features="embedding", show=False)
    table = cells.uns["age_clock"]["predictions"].query("group == 'all'")
    wanted = 2 ** np.log2(table["embedding"] + 1).groupby(table["sample"]).mean() - 1
    means = np.asarray(axis.collections[1].get_offsets())
    np.testing.assert_allclose(means[:, 1], wanted)
    np.testing.assert_allclose(means[:, 0], table.groupby("sample")["age"].first())


def test_a_control_a_group_and_an_axis(cells):
    _, ax = plt.subplots()
    assert sf.pl.age_clock(clocked(cells), features="mean", group="T4/T5", ax=ax) is ax
    assert ax.get_title().startswith("mean\nR² 0.10") and len(dots(ax)) == 20
    with pytest.raises(ValueError, match="One axis was given for 3 panels"):
        sf.pl.age_clock(cells, ax=ax)


def test_linear_scale_and_cells_held_out(cells):
    clocked(cells, target="age", split="cell", interval=False)
    table = cells.uns["age_clock"]["predictions"]
    table["sample"] = ""
    table.loc[0, "embedding"] = -7.0  # a linear clock can say so
    axis = sf.pl.age_clock(cells, features="embedding", show=False)
    assert axis.get_xscale() == "linear" and len(axis.collections) == 1
    assert axis.get_title().splitlines()[1:] == ["R² 0.50", "MAE 3.2", "60 cells held out, but not their samples"]
    assert axis.get_ylim()[0] < -7


def test_predictions_below_minus_one_do_not_break_the_log_scale(cells):
    clocked(cells).uns["age_clock"]["predictions"].loc[0, "embedding"] = -3.0
    figure = sf.pl.age_clock(cells, features="embedding", return_fig=True)
    figure.canvas.draw()


def test_from_the_tool(cells, tiny_model):
    sf.tl.age_clock(cells, sample_key="batch", model=tiny_model)
    axes = sf.pl.age_clock(cells, show=False)
    assert [axis.get_title().splitlines()[0] for axis in axes] == ARMS[:3]
    np.testing.assert_allclose(dots(axes[0])[:, 1], cells.obs["age_clock"])


def test_errors(cells):
    with pytest.raises(KeyError, match=r"Run tl\.age_clock first"):
        sf.pl.age_clock(cells)
    clocked(cells)
    with pytest.raises(KeyError, match="T4/T6"):
        sf.pl.age_clock(cells, group="T4/T6")
    with pytest.raises(KeyError, match="expresion"):
        sf.pl.age_clock(cells, features="expresion")
    with pytest.raises(ValueError, match="features is empty"):
        sf.pl.age_clock(cells, features=[])
