"""Expression of genes by state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _adata
from scflyformer._matrix import missing_key
from scflyformer._settings import DEFAULT_MODEL

from ._figure import COLOURS, drop_spines, finish, open_panels
from ._violin import violin

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData
    from scipy import sparse


def expression(
    adata: AnnData | MuData,
    genes: str | Sequence[str],
    *,
    groupby: str | None = None,
    order: Sequence[Any] | None = None,
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw violins of log-normalised expression by state, a panel per gene.

    Expression is log1p of counts per 10,000 over all genes, whatever the scale of the data. The dot is the mean; the
    label says in what share of the state's cells the gene was found.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts.
    genes
        Gene names: as the data names them, or any name by which the model knows a gene of the data.
    groupby
        Column of `obs` with the state; by default the one that :func:`scflyformer.tl.perturb` last ran on under the
        key ``"perturb"``.
    order
        States to draw, in this order; by default all, numbers ascending, categories in their order.
    model
        The model whose vocabulary knows further names of genes; opened only where the data lacks a name.
    layer
        Layer with the expression; `X` by default.
    gene_key
        Column of `var` with gene names; `var_names` by default.
    mod
        Modality of a MuData.
    ax
        Axis to draw on, for one gene; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis (an array of them for several genes); the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    KeyError
        When a column or a gene is missing; lists near names.
    ValueError
        When no gene is asked for, a state has no cells, no column is named, or one axis was given for several genes.
    """
    data = _adata.open_data(adata, mod=mod)
    names = [genes] if isinstance(genes, str) else [str(name) for name in genes]
    if not names:
        raise ValueError("genes is empty; give a list of gene names.")
    if groupby is None:
        run = data.uns.get("perturb", {})
        groupby = run.get("params", {}).get("state_key")
        if groupby is None:
            raise ValueError("groupby is missing: name the column of obs with the state.")
    states, codes = _states(_adata.obs_column(data, groupby, what="groupby"), order, groupby)
    columns = find_columns(data, names, gene_key=gene_key, model=model)
    matrix, _ = _adata.expression(data, layer=layer, gene_key=gene_key)
    axes = open_panels(ax, len(names), size=(1.4 + 0.55 * len(states), 2.8))
    for axis, name in zip(axes, names, strict=True):
        values = gene_values(matrix, columns[name])
        for place in range(len(states)):
            own = values[codes == place]
            violin(axis, own, place, colour=COLOURS[place % len(COLOURS)])
            axis.scatter(place, own.mean(), s=16, color="black", zorder=3)
        labels = [f"{state}\n{(values[codes == place] > 0).mean():.0%}" for place, state in enumerate(states)]
        axis.set_xticks(range(len(states)), labels, fontsize="small", rotation=45 if len(states) > 8 else 0)
        axis.set_xlabel(groupby)
        axis.set_ylabel("expression (log1p CP10k)")
        axis.set_title(name, fontsize="medium")
        drop_spines(axis)
    return finish(axes if len(axes) > 1 else axes[0], ax=ax, show=show, return_fig=return_fig)


def find_columns(
    data: AnnData, names: list[str], *, gene_key: str | None, model: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    """Return the columns of the data that are each gene: by the data's own name, else by any name the model knows.

    Raises
    ------
    KeyError
        When a gene is not in the data; lists near names.
    """
    own = pd.Index(_adata.gene_names(data, gene_key)).astype(str)
    columns = {name: np.flatnonzero(own == name) for name in names}
    lacking = [name for name, found in columns.items() if not len(found)]
    if lacking:
        from scflyformer import models
        from scflyformer.genes._resolve import resolve_genes

        vocabulary = models.load(model).vocabulary
        asked = resolve_genes(lacking, vocabulary).index
        there = resolve_genes(own, vocabulary).index
        for name, gene in zip(lacking, asked.tolist(), strict=True):
            columns[name] = np.flatnonzero(there == gene) if gene >= 0 else columns[name]
            if not len(columns[name]):
                place = "var_names" if gene_key is None else f"var[{gene_key!r}]"
                raise KeyError(missing_key(name, own.tolist(), what="genes", place=place))
    return columns


def gene_values(matrix: sparse.csr_matrix, columns: np.ndarray) -> np.ndarray:
    """Return one gene's log1p expression of each cell; several columns of a gene are added up before the logarithm."""
    if len(columns) == 1:
        return matrix[:, columns].toarray().ravel()
    return np.log1p(np.expm1(matrix[:, columns].toarray().astype(np.float64)).sum(1))


def _states(column: pd.Series, order: Sequence[Any] | None, key: str) -> tuple[list[str], np.ndarray]:
    """Return the labels of the states to draw and the state of each cell, -1 for none."""
    from scflyformer.tl._states import read_state

    if order is None:
        known = column.dropna()
        kept = known.cat.remove_unused_categories().cat.categories if hasattr(known, "cat") else np.unique(known)
        order = list(kept)
    if not len(order):
        raise ValueError(f"obs[{key!r}] has no values to draw.")
    states = [read_state(column, value, key=key, what="order") for value in order]
    codes = np.full(len(column), -1)
    for place, state in enumerate(states):
        codes[state.cells] = place
    return [state.label for state in states], codes
