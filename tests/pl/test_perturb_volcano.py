"""The volcano shows shifts and false discoveries of the table, what is sure, and names that do not overlap."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation, Text

import scflyformer as sf
from scflyformer.pl._figure import COLOURS

GENES = tuple(f"gene{n}" for n in range(40))


def dots(axis: Axes) -> list[np.ndarray]:
    """Points that are not sure, sure towards the goal, and sure away from it."""
    return [np.asarray(dot.get_offsets()) for dot in axis.collections if isinstance(dot, PathCollection)]


def names(axis: Axes) -> list[Annotation]:
    return [text for text in axis.texts if isinstance(text, Annotation)]


def test_points_are_the_table(perturb_run: Callable) -> None:
    """Shift against fdr, apart by what is sure and in which direction; the line is at 0.05."""
    adata = perturb_run(GENES, strong=5, values=("net_shift",))
    table = adata.uns["perturb"]["results"]
    table.loc[20, "fdr"] = 0.04
    axis = sf.pl.perturb_volcano(adata, show=False)
    sure, towards = table["fdr"] <= 0.05, table["shift"] > 0
    assert sure.sum() >= 5
    for found, rows in zip(dots(axis), (~sure, sure & towards, sure & ~towards), strict=True):
        want = np.column_stack([table["shift"], -np.log10(table["fdr"])])[rows]
        np.testing.assert_allclose(found, want)
    line = next(line for line in axis.lines if line.get_linestyle() == "--").get_ydata()[0]
    assert line == pytest.approx(-np.log10(0.05))
    assert axis.get_title() == "deleted in age 30" and "away from age 5      towards age 5" in axis.get_xlabel()


def test_the_strongest_genes_are_named(perturb_run: Callable) -> None:
    """Smallest fdr first, then the largest shift; each name leads to its point."""
    adata = perturb_run(GENES, strong=5, values=("net_shift",))
    table = adata.uns["perturb"]["results"]
    order = table.assign(size=-table["shift"].abs()).sort_values(["fdr", "size"])
    axis = sf.pl.perturb_volcano(adata, n_labels=7, show=False)
    assert [text.get_text() for text in names(axis)] == order["gene"].head(7).tolist()
    where = np.column_stack([order["shift"], -np.log10(order["fdr"])])[:7]
    np.testing.assert_allclose([text.xy for text in names(axis)], where)
    assert names(sf.pl.perturb_volcano(adata, n_labels=0, show=False)) == []
    assert len(names(sf.pl.perturb_volcano(adata, n_labels=99, show=False))) == 40


@pytest.mark.parametrize("seed", range(4))
def test_names_do_not_overlap(perturb_run: Callable, seed: int) -> None:
    """Neither one another, nor the corner, nor the frame, in a row of genes with the least p-value."""
    long = tuple(f"nAChRalpha{n}" for n in range(60))
    adata = perturb_run(long, ("T4/T5", "glia"), strong=14, seed=seed)
    adata.uns["perturb"]["agreement"] = pd.DataFrame({"group": ["T4/T5"], "n_genes": [60], "spearman": [0.9]})
    axes = sf.pl.perturb_volcano(adata, show=False)
    axes[0].figure.canvas.draw()
    for axis in axes:
        boxes = [Text.get_window_extent(text) for text in axis.texts]  # of an annotation without its line
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        frame = axis.get_window_extent()
        assert all(box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1 for box in boxes)


def test_nothing_sure(perturb_run: Callable) -> None:
    """The line stands without a sure gene too; rows without an fdr are left out."""
    adata = perturb_run(GENES, strong=0, n_null=20, values=("net_shift",))
    table = adata.uns["perturb"]["results"]
    table.loc[3, "fdr"] = np.nan
    axis = sf.pl.perturb_volcano(adata, show=False)
    assert [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [len(points) for points in dots(axis)] == [39, 0, 0]
    assert len(names(axis)) == 10
    table["fdr"] = 1.0
    assert sf.pl.perturb_volcano(adata, show=False).get_ylim()[1] > 0
    table["fdr"] = np.nan
    with pytest.raises(ValueError, match="n_null=200"):
        sf.pl.perturb_volcano(adata)


def test_panels_agreement_and_what_cannot_be_read(perturb_run: Callable) -> None:
    """A panel per group, each with its own agreement and warning."""
    adata = perturb_run(GENES, ("T4/T5", "glia", "neuron"), strong=2)
    run = adata.uns["perturb"]
    run["agreement"] = pd.DataFrame({"group": ["glia", "neuron"], "n_genes": [40, 1], "spearman": [0.934, np.nan]})
    run["agreement"]["n_exact"] = [25, 1]
    run["results"]["interpretable"] = run["results"]["group"] != "neuron"
    axes = sf.pl.perturb_volcano(adata, n_labels=0, show=False)
    words = [[text.get_text() for text in axis.texts] for axis in axes]
    assert words == [[], ["screen against exact:\nSpearman 0.93, 25 genes"], []]
    assert ["not interpretable" in axis.get_title() for axis in axes] == [False, False, True]
    figure = sf.pl.perturb_volcano(adata, groups=["glia"], return_fig=True)
    assert [axis.get_title() for axis in figure.axes] == ["glia: deleted in age 30"]


def test_the_callers_axis_and_colours(perturb_run: Callable) -> None:
    """Drawn on and handed back."""
    _, mine = plt.subplots()
    axis = sf.pl.perturb_volcano(perturb_run(GENES, strong=2), ax=mine)
    assert axis is mine
    colours = [to_hex(dot.get_facecolor()[0]) for dot in axis.collections]
    assert colours[1:] == [COLOURS[0].lower(), COLOURS[4].lower()]
    with pytest.raises(ValueError, match="One axis was given for 2 panels"):
        sf.pl.perturb_volcano(perturb_run(GENES, ("a", "b")), ax=mine)


def test_from_the_tool(cells, tiny_model) -> None:
    """Every gene of a run stands in the plot."""
    wanted = [f"tiny{n}" for n in range(1, 9)]
    sf.tl.perturb(
        cells, genes=wanted, state_key="age", start=30, goal=5, sample_key="batch", n_null=12, model=tiny_model
    )
    for readout in ("net_shift", "shift"):
        axis = sf.pl.perturb_volcano(cells, readout=readout, show=False)
        table = sf.get.perturb_df(cells, readout=readout)
        assert sum(len(points) for points in dots(axis)) == len(table) == 8
        np.testing.assert_allclose(np.sort(np.concatenate(dots(axis))[:, 0]), np.sort(table["shift"]))
    assert {text.get_text() for text in names(axis)} == set(wanted)


def test_bad_requests(perturb_run: Callable) -> None:
    """Unknown runs and groups, and a negative number of names."""
    adata = perturb_run()
    with pytest.raises(KeyError, match=r"run sf\.tl\.perturb\(adata, .*first"):
        sf.pl.perturb_volcano(adata, key="other")
    with pytest.raises(KeyError, match="no 'glia'"):
        sf.pl.perturb_volcano(adata, groups="glia")
    with pytest.raises(ValueError, match="n_labels is -1; expected 0 or more"):
        sf.pl.perturb_volcano(adata, n_labels=-1)
    with pytest.raises(KeyError, match="no 'weight'"):
        sf.pl.perturb_volcano(adata, readout="weight")


def test_the_figure_says_what_its_colours_are(perturb_run: Callable) -> None:
    """The line too; on the caller's axis names keep off the words."""
    figure = sf.pl.perturb_volcano(perturb_run(GENES, strong=5, values=("net_shift",)), return_fig=True)
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[:3] == ["towards age 5, fdr ≤ 0.05", "away from it, fdr ≤ 0.05", "fdr > 0.05"]
    assert said[3:] == ["fdr 0.05"]
    none = sf.pl.perturb_volcano(perturb_run(GENES, strong=0, n_null=20, values=("net_shift",)), return_fig=True)
    assert [text.get_text() for text in none.legends[0].get_texts()] == said
    _, mine = plt.subplots()
    sf.pl.perturb_volcano(perturb_run(GENES, strong=5, values=("net_shift",)), ax=mine)
    box = mine.get_legend().get_window_extent()
    assert not any(box.overlaps(Text.get_window_extent(text)) for text in names(mine))
    assert mine.transData.transform((0, max(points[:, 1].max() for points in dots(mine) if len(points))))[1] < box.y0
