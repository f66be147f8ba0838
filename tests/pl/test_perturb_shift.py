"""The plot shows the numbers of the tables: violins of cells, dots of samples, means, intervals and the null band."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection

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
    assert axis.get_ylabel() == "shift towards 5" and axis.get_title() == "deleted in age 30"


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


def test_bad_requests(perturbed: AnnData) -> None:
    """Unknown options, genes and runs."""
    with pytest.raises(ValueError, match="expected 'cell' or 'sample'"):
        sf.pl.perturb_shift(perturbed, by="library")
    with pytest.raises(KeyError, match="did you mean 'tiny30'"):
        sf.pl.perturb_shift(perturbed, genes=["tiny300"])
    with pytest.raises(KeyError, match=r"Run tl\.perturb first"):
        sf.pl.perturb_shift(perturbed, key="other")
