"""The plot shows the numbers of the tables: violins of cells, dots of samples, means, intervals and the null band."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


@pytest.fixture
def perturbed(cells: AnnData, tiny_model: Path) -> AnnData:
    """Cells with three genes deleted."""
    sf.tl.perturb(
        cells, genes=["tiny1", "tiny30", "tiny8"], state_key="age", start=30, goal=5, sample_key="batch", n_null=8,
        model=tiny_model,
    )  # fmt: skip
    return cells


def points(axis: Axes) -> np.ndarray:
    """All scattered points of an axis."""
    dots = [dot for dot in axis.collections if isinstance(dot, PathCollection)]
    return np.concatenate([np.asarray(dot.get_offsets()) for dot in dots])


def is_whisker(drawn: object) -> bool:
    """Whether an artist is an upright line: an interval."""
    return isinstance(drawn, LineCollection) and np.ptp(drawn.get_segments()[0][:, 0]) == 0


@pytest.mark.parametrize("by", ["cell", "sample"])
def test_means_and_samples_are_drawn_where_they_are(perturbed: AnnData, by: str) -> None:
    """Each gene's mean at its place; one dot a sample; names and numbers of cells below."""
    axis = sf.pl.perturb_shift(perturbed, by=by, show=False)
    drawn = points(axis)
    for place, (_, line) in enumerate(sf.get.perturb_df(perturbed).iterrows()):
        near = drawn[np.abs(drawn[:, 0] - place) < 0.3]
        assert np.isclose(near[:, 1], line["shift"], atol=1e-12).any()
        assert len(near) == 1 + line["n_samples"]
        assert axis.get_xticklabels()[place].get_text() == f"{line['gene']}\n({line['n_cells']})"
    assert axis.get_ylabel() == "shift towards age 5\n(change in cosine)" and axis.get_title() == "deleted in age 30"


def test_order_choice_and_axis(perturbed: AnnData) -> None:
    """Genes in the order asked, on the caller's axis, which is handed back."""
    _, mine = plt.subplots()
    axis = sf.pl.perturb_shift(perturbed, genes=["tiny30", "tiny1"], ax=mine)
    assert axis is mine
    assert [label.get_text().split("\n")[0] for label in axis.get_xticklabels()] == ["tiny30", "tiny1"]
    assert len(sf.pl.perturb_shift(perturbed, n_genes=1, show=False).get_xticklabels()) == 1
    figure = sf.pl.perturb_shift(perturbed, return_fig=True)
    assert len(figure.axes) == 1


def test_a_panel_per_group_and_runs_without_nulls(cells: AnnData, tiny_model: Path) -> None:
    """Groups get panels, with a slash in the label; no samples, no null genes and few cells are drawn too."""
    few = cells[np.r_[:12, 40:60]].copy()
    sf.tl.perturb(
        few, genes={"a/b": ["tiny1", "tiny2"]}, kind="overexpress", state_key="age", start=30, goal=5, n_null=0,
        groupby="cell_type", model=tiny_model,
    )  # fmt: skip
    axes = sf.pl.perturb_shift(few, show=False)
    assert [axis.get_title().split(":")[0] for axis in axes] == ["T4/T5", "glia", "neuron"]
    with pytest.raises(ValueError, match="One axis was given for 3 panels"):
        sf.pl.perturb_shift(few, ax=plt.subplots()[1])


@pytest.mark.parametrize(
    ("readout", "words"),
    [
        ("shift", "shift towards age 5\n(change in cosine)"),
        ("age", "change in predicted age"),
        ("probability", "change in probability of the cell's own\nclass"),
    ],
)
def test_changes_in_age_and_probability(perturb_run: Callable, readout: str, words: str) -> None:
    """Diamonds, dots, violins, bands and what is sure are those of the readout that was asked for."""
    adata = perturb_run()
    results = adata.uns["perturb"]["results"]
    sure = {"shift": [0.01, 0.5, 0.5], "age": [0.5, 0.01, 0.5], "probability": [0.5, 0.5, 0.01]}
    for name, fdr in sure.items():
        results.loc[results["readout"] == name, "fdr"] = fdr
    results = results[results["readout"] == readout]
    axis = sf.pl.perturb_shift(adata, readout=readout, show=False)
    diamonds = [dot for dot in axis.collections if isinstance(dot, PathCollection) and len(dot.get_offsets()) == 1]
    assert [dot.get_offsets()[0, 1] for dot in diamonds] == pytest.approx(results["shift"].to_numpy())
    assert [dot.get_facecolor()[0, 0] == 0 for dot in diamonds] == (results["fdr"] <= 0.05).tolist()
    whiskers = [lines.get_segments()[0][:, 1] for lines in axis.collections if is_whisker(lines)]
    np.testing.assert_allclose(whiskers, results[["ci_low", "ci_high"]])
    cells = adata.uns["perturb"]["cells"]
    means = cells[cells["gene"] == "Hsp68"].groupby("sample")[readout].mean()
    near = points(axis)[np.abs(points(axis)[:, 0] - 2) < 0.3]
    assert sorted(near[:-1, 1]) == pytest.approx(sorted(means))
    row = results.set_index("gene").loc["fz2"]
    band = row["null_mean"] + np.array([-1.96, 1.96]) * abs((row["shift"] - row["null_mean"]) / row["effect"])
    heights = [path.vertices[:, 1] for box in axis.collections for path in box.get_paths()]
    assert any(np.isclose([h.min(), h.max()], band, rtol=1e-9).all() for h in heights if len(h))
    assert axis.get_ylabel() == words


def test_units_and_class_from_the_run(perturb_run: Callable) -> None:
    """The run names the unit of age and the class."""
    adata = perturb_run(clock_age_key="months", probability_of="glia/young")
    assert sf.pl.perturb_shift(adata, readout="age", show=False).get_ylabel() == "change in predicted months"
    axis = sf.pl.perturb_shift(adata, readout="probability", show=False)
    assert axis.get_ylabel() == "change in probability of glia/young"


def test_changes_that_lack_columns(perturb_run: Callable) -> None:
    """Intervals, nulls, cells and p-values of a change may be missing; the change itself may not."""
    adata = perturb_run()
    run = adata.uns["perturb"]
    ages = np.flatnonzero(run["results"]["readout"] == "age")
    run["results"].loc[ages, ["ci_low", "ci_high", "fdr", "null_mean"]] = np.nan
    run["results"].loc[ages[1], "shift"] = np.nan
    for name in ("cells", "null"):
        run[name] = run[name].drop(columns="age")
    axis = sf.pl.perturb_shift(adata, readout="age", show=False)
    assert points(axis)[:, 0].tolist() == [0, 2] and len(axis.get_xticklabels()) == 3
    run["results"] = run["results"].drop(index=ages)
    with pytest.raises(KeyError, match=r"readout: no 'age'.* Run sf\.tl\.perturb with the folder of a clock"):
        sf.pl.perturb_shift(adata, readout="age")


def test_the_genes_furthest_from_their_null_are_chosen(perturb_run: Callable) -> None:
    adata = perturb_run(strong=0)
    results = adata.uns["perturb"]["results"]
    for name, effect in {"shift": [0.1, -3.0, 2.0], "age": [1.5, 0.1, 0.2]}.items():
        results.loc[results["readout"] == name, "effect"] = effect

    def drawn(**options: object) -> list[str]:
        axis = sf.pl.perturb_shift(adata, n_genes=1, show=False, **options)
        return [label.get_text().split("\n")[0] for label in axis.get_xticklabels()]

    assert drawn() == ["Msp300"] and drawn(readout="age") == ["fz2"]


@pytest.mark.parametrize(
    ("params", "title"),
    [
        ({"kind": "knockdown", "dose": 0.5}, "knocked down by half in age 30"),
        ({"kind": "knockdown", "dose": 0.25}, "knocked down by 25 % in age 30"),
        ({"kind": "activate", "dose": 1.0}, "activated by 100 % in age 30"),
        ({"kind": "mask", "dose": 0.5}, "masked in age 30"),
        ({"kind": "overexpress"}, "overexpressed in age 30"),
    ],
)
def test_titles_say_what_was_done(perturb_run: Callable, params: dict, title: str) -> None:
    """Every kind; the dose only where it counts."""
    assert sf.pl.perturb_shift(perturb_run(**params), show=False).get_title() == title


def test_groups_that_cannot_be_read(perturb_run: Callable) -> None:
    """A group whose states are alike says so, with its AUROC where there is one; older runs say nothing."""
    adata = perturb_run(groups=("T4/T5", "glia"))
    run = adata.uns["perturb"]
    assert "interpretable" not in sf.pl.perturb_shift(adata, show=False)[0].get_title()
    run["results"]["interpretable"] = run["results"]["group"] == "glia"
    titles = [axis.get_title() for axis in sf.pl.perturb_shift(adata, show=False)]
    assert titles == ["T4/T5: deleted in age 30\nnot interpretable", "glia: deleted in age 30"]
    run["separability"] = pd.DataFrame({"group": ["glia", "T4/T5"], "auroc": [0.9, 0.517]})
    first = sf.pl.perturb_shift(adata, show=False)[0]
    assert first.get_title().endswith("not interpretable (AUROC 0.52)")


@pytest.mark.parametrize("genes", [("alphaTub84B", "Drak+fz2", "l(2)gl"), tuple(f"alphaTub{n}B" for n in range(18))])
def test_labels_and_titles_do_not_overlap(perturb_run: Callable, genes: tuple[str, ...]) -> None:
    """Long names, level where there are few; long titles are broken."""
    groups = ("Dorsal cluster neuron", "ensheathing glial cell")
    adata = perturb_run(genes, groups, state_key="genotype", start="DGRP-551", kind="knockdown", dose=0.5)
    axes = sf.pl.perturb_shift(adata, genes=list(genes)[:1], show=False)
    axes[0].figure.canvas.draw()
    first, second = (axis.title.get_window_extent() for axis in axes)
    assert first.x1 < second.x0 and "\n" in axes[0].get_title()
    axis = sf.pl.perturb_shift(adata, groups="ensheathing glial cell", show=False)
    axis.figure.canvas.draw()
    labels = axis.get_xticklabels()
    boxes = [label.get_window_extent() for label in labels]
    assert {label.get_rotation() for label in labels} == ({0} if len(genes) == 3 else {45})
    if len(genes) == 3:
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    else:
        assert np.diff([box.x1 for box in boxes]).min() >= 1.2 * labels[0].get_fontsize() * axis.figure.dpi / 72


def test_bad_requests(perturbed: AnnData) -> None:
    """Unknown options, genes and runs."""
    with pytest.raises(ValueError, match="expected 'cell' or 'sample'"):
        sf.pl.perturb_shift(perturbed, by="library")
    with pytest.raises(KeyError, match="readout: no 'days'"):
        sf.pl.perturb_shift(perturbed, readout="days")
    with pytest.raises(ValueError, match=r"Nothing to draw: .*genes=\[\]"):
        sf.pl.perturb_shift(perturbed, genes=[])
    with pytest.raises(ValueError, match=r"Nothing to draw: .*groups=\[\]"):
        sf.pl.perturb_shift(perturbed, genes="tiny1", groups=[])
    with pytest.raises(KeyError, match="did you mean 'tiny30'"):
        sf.pl.perturb_shift(perturbed, genes=["tiny300"])
    with pytest.raises(KeyError, match=r"run sf\.tl\.perturb\(adata, .*first"):
        sf.pl.perturb_shift(perturbed, key="other")


def words(axis: Axes) -> list[str]:
    """What the figure says of its marks."""
    return [text.get_text() for text in axis.figure.legends[0].get_texts()]


def test_states_that_are_numbers_are_named(perturb_run: Callable) -> None:
    """A word speaks for itself."""
    adata = perturb_run(state_key="genotype", goal="wild type", start="mutant")
    assert sf.pl.perturb_shift(adata, show=False).get_ylabel().startswith("shift towards wild type\n")
    axis = sf.pl.perturb_shift(adata, readout="net_shift", show=False)
    assert axis.get_ylabel() == "shift towards wild type less towards\nmutant\n(change in cosine)"


def test_the_figure_says_what_its_marks_are(perturb_run: Callable) -> None:
    """Filled and open diamonds, dots, violins and the band, as far as they are drawn; all of it within the figure."""
    adata = perturb_run()
    axis = sf.pl.perturb_shift(adata, show=False)
    diamonds = ["mean, 95 % interval; fdr ≤ 0.05", "mean, 95 % interval; fdr > 0.05"]
    assert words(axis) == [*diamonds, "mean of a sample", "cells (middle 95 %)", "null genes (mean ± 1.96 sd)"]
    axis.figure.canvas.draw()
    page, box = axis.figure.bbox, axis.figure.legends[0].get_window_extent()
    assert page.x0 <= box.x0 and box.x1 <= page.x1 + 1 and page.y0 <= box.y0
    assert all(box.y1 <= text.get_window_extent().y0 for text in axis.get_xticklabels())
    assert words(sf.pl.perturb_shift(adata, by="sample", show=False)) == [*diamonds, *words(axis)[2:3], words(axis)[4]]
    run = adata.uns["perturb"]
    run["results"] = run["results"].assign(fdr=np.nan, ci_low=np.nan, n_samples=1, effect=np.nan)
    assert words(sf.pl.perturb_shift(adata, show=False)) == ["mean; not tested", "cells (middle 95 %)"]
