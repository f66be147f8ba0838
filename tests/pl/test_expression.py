"""Violins stand on log-normalised expression by state, with genes found by any of their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from matplotlib.collections import PathCollection

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


def means(axis: Axes) -> np.ndarray:
    """Heights of the dots."""
    return np.array([dot.get_offsets()[0][1] for dot in axis.collections if isinstance(dot, PathCollection)])


def want_cells(cells: AnnData, gene: str) -> pd.Series:
    """Log1p CP10k of each cell, by scanpy."""
    other = cells.copy()
    sc.pp.normalize_total(other, target_sum=1e4)
    sc.pp.log1p(other)
    return pd.Series(other[:, gene].X.toarray().ravel(), index=other.obs_names)


def want(cells: AnnData, gene: str, key: str) -> pd.Series:
    """Mean log1p CP10k by state, by scanpy."""
    return want_cells(cells, gene).groupby(cells.obs[key], observed=True).mean()


def test_means_equal_scanpys(cells: AnnData) -> None:
    """Raw counts and log1p input alike; numbers ascending, categories in their order; shares below."""
    reference = want(cells, "tiny30", "age")
    axis = sf.pl.expression(cells, "tiny30", groupby="age", show=False)
    assert means(axis) == pytest.approx(reference.to_numpy(), rel=1e-4)
    share = (cells[cells.obs["age"] == 5, "tiny30"].X > 0).mean()
    assert axis.get_xticklabels()[0].get_text() == f"5\n{share:.0%}"
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    assert means(sf.pl.expression(cells, "tiny30", groupby="age", show=False)) == pytest.approx(
        reference.to_numpy(), rel=1e-3
    )


def test_panels_order_and_default_state(cells: AnnData, tiny_model: Path) -> None:
    """A panel per gene; states as asked; without `groupby` the state that was perturbed."""
    axes = sf.pl.expression(
        cells, ["tiny1", "tiny2"], groupby="cell_type", order=["T4/T5", "glia"], model=tiny_model, show=False
    )
    assert [axis.get_title() for axis in axes] == ["tiny1", "tiny2"]
    assert [label.get_text().split("\n")[0] for label in axes[0].get_xticklabels()] == ["T4/T5", "glia"]
    assert means(axes[1]) == pytest.approx(want(cells, "tiny2", "cell_type")[["T4/T5", "glia"]].to_numpy(), rel=1e-4)
    cells.uns["perturb"] = {"params": {"state_key": "age"}}
    assert sf.pl.expression(cells, "tiny1", show=False).get_xlabel() == "age (% of cells with the gene)"


def test_genes_by_any_name_and_columns_of_one_gene(cells: AnnData, tiny_model: Path) -> None:
    """CG id, synonym and id find the column; two columns of one gene are added up."""
    reference = means(sf.pl.expression(cells, "tiny30", groupby="age", show=False))
    for name in ("CG30", "old30", "FBgn9900030"):
        axis = sf.pl.expression(cells, name, groupby="age", model=tiny_model, show=False)
        assert means(axis) == pytest.approx(reference)
    half = cells[:, ["tiny30"]].copy()
    half.X = sp.csr_matrix(half.X.toarray() * 0 + 1)
    half.var_names = ["CG30"]
    split = ad.concat([cells, half], axis=1, merge="same")
    split.obs = cells.obs
    axis = sf.pl.expression(split, "old30", groupby="age", model=tiny_model, show=False)
    counts = split.X.toarray()
    value = np.log1p(1e4 * (counts[:, 29] + 1) / counts.sum(1))
    assert means(axis) == pytest.approx([value[cells.obs["age"] == age].mean() for age in (5, 30)], rel=1e-4)


def test_genes_without_spread_and_small_states(cells: AnnData) -> None:
    """A gene that is nowhere, and states of one and two cells, are drawn without a warning."""
    cells.obs["state"] = ["one", "two", "two"] + ["rest"] * 57
    dense = cells.X.toarray()
    dense[:, 0] = 0
    cells.X = sp.csr_matrix(dense)
    axes = sf.pl.expression(cells, ["tiny1", "tiny2"], groupby="state", show=False)
    assert means(axes[0]).tolist() == [0, 0, 0]
    axes[0].figure.canvas.draw()


def test_bad_requests(cells: AnnData, tiny_model: Path) -> None:
    """Missing columns, genes, states and axes are named."""
    with pytest.raises(KeyError, match="did you mean 'age'"):
        sf.pl.expression(cells, "tiny1", groupby="ages")
    with pytest.raises(KeyError, match=r"genes: no 'tiny333' in adata\.var_names; did you mean 'tiny33'"):
        sf.pl.expression(cells, "tiny333", groupby="age", model=tiny_model)
    with pytest.raises(ValueError, match="groupby is missing"):
        sf.pl.expression(cells, "tiny1")
    with pytest.raises(ValueError, match="genes is empty"):
        sf.pl.expression(cells, [], groupby="age")
    with pytest.raises(ValueError, match=r"order: no cell has obs\['age'\] = 7"):
        sf.pl.expression(cells, "tiny1", groupby="age", order=[5, 7])
    with pytest.raises(ValueError, match="One axis was given for 2 panels"):
        sf.pl.expression(cells, ["tiny1", "tiny2"], groupby="age", ax=plt.subplots()[1])


def dots(axis: Axes) -> np.ndarray:
    """Points of samples, in the order drawn."""
    found = [np.asarray(dot.get_offsets()) for dot in axis.collections if isinstance(dot, PathCollection)]
    return np.concatenate(found)


def test_a_trend_runs_through_the_means_of_samples(cells: AnnData) -> None:
    """A dot a sample at its age, the line through their means, the band from what scipy finds."""
    cells.obs["age"] = cells.obs["age"].astype(float) + cells.obs["batch"].map(
        {"s0": -4, "s1": 0, "s2": 0, "s3": 0}
    ).astype(float)
    own = want_cells(cells, "tiny30")
    reference = own.groupby([cells.obs["age"], cells.obs["batch"].astype(str)]).mean()
    axis = sf.pl.expression(cells, "tiny30", kind="trend", groupby="age", sample_key="batch", show=False)
    assert dots(axis)[:, 0].tolist() == [1, 5, 30, 30]
    assert dots(axis)[:, 1] == pytest.approx(reference.to_numpy(), rel=1e-4)
    line = axis.lines[0]
    assert line.get_xdata().tolist() == [1, 5, 30]
    assert line.get_ydata() == pytest.approx(reference.groupby(level=0).mean().to_numpy(), rel=1e-4)
    assert axis.get_xlabel() == "age" and axis.get_ylabel() == "mean expression\n(log1p CP10k)"
    cut = sf.pl.expression(cells, "tiny30", kind="trend", groupby="age", order=[5, 30], sample_key="batch", show=False)
    assert cut.lines[0].get_xdata().tolist() == [5, 30]


def test_a_line_for_each_value(cells: AnnData) -> None:
    """Lines in the order of the categories, numbers as text, cells without a value left out; the legend names them."""
    cells.obs["cell_type"] = cells.obs["cell_type"].cat.set_categories(["neuron", "unseen", "T4/T5"])  # glia is missing
    axes = sf.pl.expression(cells, ["tiny1", "tiny2"], kind="trend", groupby="age", split_by="cell_type", show=False)
    legend = axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["neuron", "T4/T5"] and axes[0].get_legend() is None
    assert legend.get_title().get_text() == "cell_type"
    values = want_cells(cells, "tiny2")
    for line, name in zip(axes[1].lines, ["neuron", "T4/T5"], strict=True):
        reference = values[cells.obs["cell_type"] == name].groupby(cells.obs["age"]).mean()
        assert line.get_ydata() == pytest.approx(reference.to_numpy(), rel=1e-4)
    axes[0].figure.canvas.draw()
    page, box = axes[0].figure.bbox, legend.get_window_extent()
    assert axes[1].get_window_extent().x1 <= box.x0 and box.x1 <= page.x1


def test_ages_as_text_and_missing_states(cells: AnnData) -> None:
    """Categories of numbers are numbers; a cell without age or sample is in no mean."""
    reference = sf.pl.expression(cells[5:], "tiny1", kind="trend", groupby="age", sample_key="batch", show=False)
    cells.obs["days"] = pd.Categorical(cells.obs["age"].astype(str))
    cells.obs.loc[cells.obs_names[:3], "days"] = np.nan
    cells.obs.loc[cells.obs_names[3:5], "batch"] = np.nan
    axis = sf.pl.expression(cells, "tiny1", kind="trend", groupby="days", sample_key="batch", show=False)
    assert axis.lines[0].get_xdata().tolist() == [5, 30]
    np.testing.assert_allclose(dots(axis), dots(reference), rtol=1e-6)


def test_bad_requests_for_a_trend(cells: AnnData) -> None:
    """What is not numbers, columns that are missing, options of the other kind."""
    with pytest.raises(ValueError, match=r"kind='trend' needs numbers, but obs\['cell_type'\] holds 'glia'"):
        sf.pl.expression(cells, "tiny1", kind="trend", groupby="cell_type")
    with pytest.raises(KeyError, match="sample_key: no 'batches'.*did you mean 'batch'"):
        sf.pl.expression(cells, "tiny1", kind="trend", groupby="age", sample_key="batches")
    with pytest.raises(KeyError, match="split_by: no 'genotype'"):
        sf.pl.expression(cells, "tiny1", kind="trend", groupby="age", split_by="genotype")
    cells.obs["genotype"] = np.nan
    with pytest.raises(ValueError, match=r"No cell of the states has values of obs\['batch'\], obs\['genotype'\]"):
        sf.pl.expression(cells, "tiny1", kind="trend", groupby="age", sample_key="batch", split_by="genotype")
    with pytest.raises(ValueError, match="belong to a trend"):
        sf.pl.expression(cells, "tiny1", groupby="age", sample_key="batch")
    with pytest.raises(ValueError, match="expected 'violin' or 'trend'"):
        sf.pl.expression(cells, "tiny1", kind="line", groupby="age")


def said(axis: Axes) -> list[str]:
    """What the figure says of its marks."""
    return [text.get_text() for text in axis.figure.legends[0].get_texts()]


def test_the_figure_says_what_its_marks_are(cells: AnnData) -> None:
    axis = sf.pl.expression(cells, "tiny1", groupby="age", show=False)
    assert said(axis) == ["cells", "mean of cells"]
    over = sf.pl.expression(cells, "tiny1", kind="trend", groupby="age", sample_key="batch", show=False)
    assert said(over) == ["mean of a sample", "mean of samples", "95 % interval over samples"]
    alone = sf.pl.expression(cells, "tiny1", kind="trend", groupby="age", show=False)
    assert said(alone) == ["mean of cells", "95 % interval over cells (too narrow)"]


def test_many_panels_and_long_names_stay_legible(cells: AnnData) -> None:
    """Rows are no wider than a page; names of states stand aslant, with nothing beyond the figure."""
    cells.obs["state"] = [f"state {number % 7}" for number in range(60)]
    figure = sf.pl.expression(cells, [f"tiny{n}" for n in range(1, 6)], groupby="state", return_fig=True)
    assert figure.get_figwidth() <= 11 and len({axis.get_position().x0 for axis in figure.axes}) < 5
    figure.canvas.draw()
    for axis in figure.axes:
        assert {text.get_rotation() for text in axis.get_xticklabels()} == {45}
        assert axis.get_xticklabels()[0].get_text().startswith("state 0 (")
        box = axis.get_tightbbox()
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
