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
        "params": {"age_key": "age", "sample_key": "batch", "features": "embedding"},
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


def boxes(axis) -> list[np.ndarray]:
    """Corners of the boxes on the panel."""
    return [one.get_paths()[0].vertices for one in axis.collections if type(one).__name__.startswith("FillBetween")]


def with_intervals(cells, **params):
    clocked(cells)
    cells.uns["age_clock"]["params"] |= {"features": "embedding", "groupby": "none", "level": 0.9, **params}
    cells.uns["age_clock"]["results"]["coverage"] = [0.875, *[np.nan] * 9]
    cells.obs["age_clock_low"] = cells.obs["age"] / 2 + np.arange(60) % 3
    cells.obs["age_clock_high"] = cells.obs["age"] * 2.0
    return cells


def test_prediction_intervals_of_the_feature_set_in_obs(cells):
    first, second, _ = sf.pl.age_clock(with_intervals(cells), show=False)
    assert first.get_title().splitlines()[-1] == "90 % intervals hold 88 % of cells"
    assert "intervals" not in second.get_title() and not boxes(second)
    ends = cells.obs.groupby("age")[["age_clock_low", "age_clock_high"]].median()
    assert [(box[:, 1].min(), box[:, 1].max()) for box in boxes(first)] == list(ends.itertuples(index=False, name=None))
    for box, age in zip(boxes(first), (5, 30), strict=True):
        assert box[:, 0].min() < age < box[:, 0].max()
    words = [text.get_text() for text in first.figure.legends[0].get_texts()]
    assert words[:3] == ["cell", "mean of a sample", "predicted = true age"]
    assert words[3:] == ["90 % prediction interval (median cell)", "in brackets: 95 % intervals over samples"]
    first.figure.canvas.draw()


def test_intervals_of_another_clock_are_not_drawn(cells):
    """With groups, those in `obs` are of the clocks of groups."""
    with_intervals(cells, groupby="cell_type")
    assert not boxes(sf.pl.age_clock(cells, features="embedding", show=False))
    axis = sf.pl.age_clock(cells, features="embedding", group="T4/T5", show=False)
    own = cells.obs[cells.obs["cell_type"] == "T4/T5"].groupby("age")["age_clock_low"].median()
    assert [box[:, 1].min() for box in boxes(axis)] == own.tolist()


def test_the_article_is_drawn_only_when_asked_for(cells):
    """Its split has tested a part of the cells."""
    clocked(cells)
    found = cells.uns["age_clock"]
    row = found["results"].iloc[[0]].assign(features="article", split="cell 7:3", n_cells=18)
    found["results"] = pd.concat([row, found["results"]])
    with pytest.raises(KeyError, match=r"holds none of 'article' for group 'all'"):
        sf.pl.age_clock(cells, features="article")
    found["predictions"]["article"] = np.where(np.arange(80) < 18, 7.0, np.nan)
    assert [axis.get_title().splitlines()[0] for axis in sf.pl.age_clock(cells, show=False)] == ARMS[:3]
    axis = sf.pl.age_clock(cells, features="article", show=False)
    assert len(dots(axis)) == 18
    assert axis.get_title().splitlines()[-1] == "18 cells held out at random, split by cell 7:3"


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
    with pytest.raises(KeyError, match=r"Run sf\.tl\.age_clock\(adata, \.\.\.\) first"):
        sf.pl.age_clock(cells)
    clocked(cells)
    with pytest.raises(KeyError, match="T4/T6"):
        sf.pl.age_clock(cells, group="T4/T6")
    with pytest.raises(KeyError, match="expresion"):
        sf.pl.age_clock(cells, features="expresion")
    with pytest.raises(ValueError, match="features is empty"):
        sf.pl.age_clock(cells, features=[])
