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


def want(cells: AnnData, gene: str, key: str) -> pd.Series:
    """Mean log1p CP10k by state, by scanpy."""
    other = cells.copy()
    sc.pp.normalize_total(other, target_sum=1e4)
    sc.pp.log1p(other)
    return (
        pd.Series(other[:, gene].X.toarray().ravel(), index=other.obs_names)
        .groupby(cells.obs[key], observed=True)
        .mean()
    )


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
    assert sf.pl.expression(cells, "tiny1", show=False).get_xlabel() == "age"


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
