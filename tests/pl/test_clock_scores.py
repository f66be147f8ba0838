"""Bars are the stored scores, in order, with their intervals; what is far below 0 is cut and written."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scflyformer as sf

ARMS = ("embedding", "expression", "embedding+expression", "depth", "mean", "article")


def scored(r2: dict[str, float], *, arms: tuple[str, ...] = ARMS, **columns: object) -> ad.AnnData:
    """An object with scores: `r2` of the first feature set by group, each further one 0.1 lower."""
    rows = []
    for group, value in r2.items():
        for number, name in enumerate(arms):
            row = {"group": group, "features": name, "target": "log2(age + 1)", "n_samples": 12}
            row |= {"n_cells": 1000 + len(group), "split": "cell 7:3" if name == "article" else "sample"}
            for score, at in (("r2", value - number / 10), ("mae", 10 - value), ("spearman", value / 2)):
                at = np.nan if (score, name) == ("spearman", "mean") else at
                row |= {score: at, f"{score}_low": at - 0.2, f"{score}_high": at + 0.1}
            rows.append(row | columns)
    adata = ad.AnnData(np.ones((2, 1), np.float32))
    adata.uns["age_clock"] = {"results": pd.DataFrame(rows), "params": {"age_key": "days"}}
    return adata


GROUPS = {"glia": 0.3, "T4/T5": 0.6, "all": 0.5, "rare": 0.4}


def heights(axis, which: int = 0) -> list[float]:
    return [bar.get_height() for bar in axis.containers[which]]


def labels(axis) -> list[str]:
    return [text.get_text() for text in axis.get_xticklabels()]


def test_all_comes_first_then_the_best() -> None:
    axis = sf.pl.clock_scores(scored(GROUPS), show=False)
    assert labels(axis) == ["all\n(1,003)", "T4/T5\n(1,005)", "rare\n(1,004)", "glia\n(1,004)"]
    assert [box.get_label() for box in axis.containers] == list(ARMS[:3])
    assert heights(axis) == pytest.approx([0.5, 0.6, 0.4, 0.3])
    assert heights(axis, 2) == pytest.approx([0.3, 0.4, 0.2, 0.1])
    whiskers = [line.vertices[:, 1] for line in axis.collections[0].get_paths()]
    np.testing.assert_allclose(whiskers, [[v - 0.2, v + 0.1] for v in (0.5, 0.6, 0.4, 0.3)])
    assert axis.get_ylabel() == "R² of log2(age + 1)"
    said = "12 samples, whole samples held out\nlines: 95 % intervals over samples"
    assert axis.get_title(loc="left") == said and axis.get_xlabel() == "group (cells)"
    assert any(np.allclose(line.get_ydata(), 0) for line in axis.lines)
    assert not axis.texts


def test_bars_do_not_overlap() -> None:
    axis = sf.pl.clock_scores(scored(GROUPS), features=list(ARMS), show=False)
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for box in axis.containers for bar in box)
    assert all(before[1] <= after[0] + 1e-9 for before, after in pairwise(spans))


def test_the_error_is_in_the_unit_of_age_and_less_is_better() -> None:
    axis = sf.pl.clock_scores(scored(GROUPS), score="mae", features="embedding", show=False)
    assert labels(axis)[:2] == ["all\n(1,003)", "T4/T5\n(1,005)"] and heights(axis)[1] == pytest.approx(9.4)
    assert axis.get_ylabel() == "mean absolute error (days)" and axis.get_ylim()[0] == 0
    assert axis.get_legend() is None and len(axis.containers) == 1


def test_a_score_far_below_zero_flattens_nothing() -> None:
    axis = sf.pl.clock_scores(scored(GROUPS | {"odd": -5.04}), features=["embedding", "expression"], show=False)
    assert axis.get_ylim()[0] == -0.5 and axis.get_ylim()[1] < 1
    assert labels(axis)[-1].startswith("odd") and heights(axis)[-1] == -0.5
    assert [text.get_text() for text in axis.texts] == ["−5.0", "−5.1"]
    whiskers = [line.vertices[:, 1] for line in axis.collections[0].get_paths()]
    assert len(whiskers) == 4  # that of the cut bar lies below the axis
    near = sf.pl.clock_scores(scored(GROUPS | {"odd": -0.2}), features="embedding", show=False)
    assert near.get_ylim()[0] < -0.4 and not near.texts


def test_a_control_without_the_score_and_the_articles_split() -> None:
    adata = scored(GROUPS)
    axis = sf.pl.clock_scores(adata, score="spearman", features=["mean", "expression", "article"], show=False)
    assert [box.get_label() for box in axis.containers] == ["expression", "article\n(split by cell 7:3)"]
    with pytest.raises(ValueError, match="None of 'mean' has a spearman"):
        sf.pl.clock_scores(adata, score="spearman", features="mean")


def test_groups_and_intervals_that_are_missing() -> None:
    """A feature set that one group lacks, a group without a score, and a clock without intervals."""
    adata = scored(GROUPS, r2_low=np.nan, r2_high=np.nan)
    results = adata.uns["age_clock"]["results"]
    results.loc[(results["group"] == "T4/T5") & (results["features"] == "embedding"), "r2"] = np.nan
    adata.uns["age_clock"]["results"] = results.drop(index=results.index[1])
    axis = sf.pl.clock_scores(adata, show=False)
    assert [name.split("\n")[0] for name in labels(axis)] == ["all", "rare", "glia", "T4/T5"]
    assert all(not len(lines.get_paths()) for lines in axis.collections)
    axis.figure.canvas.draw()


def test_thirty_groups_with_long_names_are_legible() -> None:
    many = {"all": 0.5} | {f"cell type number {n:02d}": n / 30 for n in range(30)}
    few, wide = (sf.pl.clock_scores(scored(some), show=False) for some in (GROUPS, many))
    assert wide.figure.get_figwidth() > 2 * few.figure.get_figwidth()
    assert [text.get_rotation() for text in few.get_xticklabels()] == [0] * 4
    assert {text.get_rotation() for text in wide.get_xticklabels()} == {45}
    wide.figure.canvas.draw()
    ends = [text.get_window_extent().x1 for text in wide.get_xticklabels()]
    assert np.diff(ends).min() >= 1.2 * wide.get_xticklabels()[0].get_fontsize() * wide.figure.dpi / 72
    box, page = wide.get_legend().get_window_extent(), wide.figure.bbox
    assert wide.get_window_extent().x1 <= box.x0 and box.x1 <= page.x1
    assert all(text.get_window_extent().y0 >= page.y0 for text in wide.get_xticklabels())


def test_an_axis_and_what_comes_back() -> None:
    figure, ax = plt.subplots()
    adata = scored(GROUPS)
    assert sf.pl.clock_scores(adata, ax=ax) is ax and figure.get_figwidth() == 6.4
    assert sf.pl.clock_scores(adata, return_fig=True) is not figure


def test_from_the_tool(cells, tiny_model) -> None:
    sf.tl.age_clock(cells, sample_key="batch", groupby="cell_type", min_cells=15, model=tiny_model, baselines="none")
    axis = sf.pl.clock_scores(cells, features=["embedding", "depth"], show=False)
    results = sf.get.clock_df(cells).query("features == 'embedding'").set_index("group")["r2"]
    names = [label.split("\n")[0] for label in labels(axis)]
    assert names[0] == "all" and set(names) == set(results.index)
    np.testing.assert_allclose(heights(axis), np.maximum(results.loc[names], axis.get_ylim()[0]))


def test_errors() -> None:
    adata = scored(GROUPS)
    with pytest.raises(ValueError, match="score is 'R2'; expected one of 'r2', 'spearman', 'mae'"):
        sf.pl.clock_scores(adata, score="R2")
    with pytest.raises(KeyError, match="did you mean 'expression'"):
        sf.pl.clock_scores(adata, features="expresion")
    with pytest.raises(ValueError, match="features is empty"):
        sf.pl.clock_scores(adata, features=[])
    with pytest.raises(KeyError, match=r"Run sf\.tl\.age_clock\(adata, \.\.\.\) first"):
        sf.pl.clock_scores(adata, key="other")
