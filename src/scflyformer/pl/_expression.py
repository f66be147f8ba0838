"""Expression of genes by state."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scflyformer.data import _adata
from scflyformer.data._reading import Reading

from ._expression_trend import Cells, draw_trend, numeric_states, trend_marks
from ._figure import COLOURS, GREY, drop_spines, explain, finish, open_panels
from ._gene_values import find_columns, gene_values
from ._violin import violin

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

Kind = Literal["violin", "trend"]
#: Lines of a legend's column.
_ROWS = 10
#: States up to which, and letters of a state up to which, names stand level.
_FLAT, _LETTERS = 12, 6
#: Inches: of a state whose name stands level or aslant, beside the states, of a letter's height aslant, of a panel at
#: least, of a trend, and of all panels in a row.
_SLOT, _SLANTED, _MARGIN, _LETTER, _NARROWEST, _TREND, _PAGE = 0.45, 0.4, 1.2, 0.05, 2.8, 3.4, 11


def expression(
    adata: AnnData | MuData,
    genes: str | Sequence[str],
    *,
    kind: Kind = "violin",
    groupby: str | None = None,
    sample_key: str | None = None,
    split_by: str | None = None,
    order: Sequence[Any] | None = None,
    model: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    gene_key: str | None = None,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw log-normalised expression by state, a panel per gene: violins, or the trend over a numeric state.

    Expression is log1p of counts per 10,000 over all genes, whatever the scale of the data.

    A violin holds the cells of a state. The dot is the mean; the label says in what share of the state's cells the gene
    was found.

    A trend runs through the mean of each state, such as each age, in a band that is its 95 % t interval. With
    ``sample_key`` dots are the means of samples, the line is the mean over them, and the interval is over samples, with
    one standard deviation between samples for all states; there is no band where no state has two samples. Without, the
    interval is over cells and comes out too narrow. A band that leaves the panel is cut at its edge. Cells without a
    state, sample or value of ``split_by`` are left out.

    Parameters
    ----------
    adata
        Cells × genes: counts, or log1p of normalised counts.
    genes
        Gene names: as the data names them, or any name by which the model knows a gene of the data.
    kind
        ``"violin"`` or ``"trend"``.
    groupby
        Column of `obs` with the state, for a trend of numbers; by default the one that
        :func:`scflyformer.tl.perturb` last ran on under the key ``"perturb"``.
    sample_key
        For a trend: column of `obs` with the sample (library, animal).
    split_by
        For a trend: column of `obs`, such as the genotype, with a line for each of its values.
    order
        States to draw, violins in this order; by default all, numbers ascending, categories in their order.
    model
        The model whose vocabulary knows further names of genes; opened only where the data lacks a name. `None`: the
        model that made `obsm["X_scflyformer"]`, else `settings.model`.
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
        When no gene is asked for, a state or a whole trend has no cells, no column is named, a trend is asked for over
        what is not numbers, an option belongs to the other kind, or one axis was given for several genes.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> axes = sf.pl.expression(
    ...     adata, ["Hsp68", "cpx"], groupby="age", show=False
    ... )
    >>> [axis.get_title() for axis in axes]
    ['Hsp68', 'cpx']

    The trend over ages, with an interval over samples:

    >>> axis = sf.pl.expression(
    ...     adata,
    ...     "Hsp68",
    ...     kind="trend",
    ...     groupby="age",
    ...     sample_key="batch",
    ...     show=False,
    ... )
    >>> axis.get_title()
    'Hsp68'
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; expected 'violin' or 'trend'.")
    if kind == "violin" and (sample_key is not None or split_by is not None):
        raise ValueError("sample_key and split_by belong to a trend; pass kind='trend', or leave them out.")
    data = _adata.open_data(adata, mod=mod)
    names = [genes] if isinstance(genes, str) else [str(name) for name in genes]
    if not names:
        raise ValueError("genes is empty; give a list of gene names.")
    if groupby is None:
        run = data.uns.get("perturb", {})
        groupby = run.get("params", {}).get("state_key")
        if groupby is None:
            raise ValueError("groupby is missing: name the column of obs with the state, such as groupby='age'.")
    column = _adata.obs_column(data, groupby, what="groupby")
    states, codes = _states(column, order, groupby)
    if kind == "trend":
        numbers = np.where(codes >= 0, numeric_states(column, groupby), np.nan)
        cells, lines = _trend_cells(data, numbers, sample_key, split_by)
    columns = find_columns(data, names, gene_key=gene_key, model=model)
    matrix, _ = _adata.log_expression(data, Reading(layer, gene_key), log_prefix="")
    aslant = len(states) > _FLAT or max(map(len, states)) > _LETTERS
    width = _TREND if kind == "trend" else max(_NARROWEST, _MARGIN + (_SLANTED if aslant else _SLOT) * len(states))
    columns_of_panels = max(1, min(4, int(_PAGE / width)))
    height = 2.8 + (_LETTER * max(map(len, states)) if aslant and kind == "violin" else 0)
    axes = open_panels(ax, len(names), size=(width, height), n_columns=columns_of_panels)
    for axis, name in zip(axes, names, strict=True):
        values = gene_values(matrix, columns[name])
        if kind == "trend":
            draw_trend(axis, values, cells, lines)
        else:
            _draw_violins(axis, values, states, codes, aslant=aslant)
        axis.set_xlabel(groupby if kind == "trend" else f"{groupby} (% of cells with the gene)")
        axis.set_ylabel("expression (log1p CP10k)" if kind == "violin" else "mean expression\n(log1p CP10k)")
        axis.set_title(name, fontsize="medium")
        drop_spines(axis)
    if split_by is not None:
        _legend(axes, split_by, own=ax is None)
    marks = _violin_marks() if kind == "violin" else trend_marks(cells, lines)
    explain(axes, marks if ax is None or split_by is None else [], own=ax is None)
    return finish(axes if len(axes) > 1 else axes[0], ax=ax, show=show, return_fig=return_fig)


def _violin_marks() -> list[Artist]:
    """Return handles of what a panel of violins holds."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=GREY, alpha=0.55, label="cells"),
        Line2D([], [], marker="o", markersize=4, linestyle="", color="black", label="mean of cells"),
    ]


def _draw_violins(axis: Axes, values: np.ndarray, states: list[str], codes: np.ndarray, *, aslant: bool) -> None:
    for place in range(len(states)):
        own = values[codes == place]
        violin(axis, own, place, colour=COLOURS[place % len(COLOURS)])
        axis.scatter(place, own.mean(), s=16, color="black", zorder=3)
    gap = " ({:.0%})" if aslant else "\n{:.0%}"
    labels = [state + gap.format((values[codes == place] > 0).mean()) for place, state in enumerate(states)]
    axis.set_xticks(range(len(states)), labels, fontsize="small")
    if aslant:
        for text in axis.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def _trend_cells(
    data: AnnData, states: np.ndarray, sample_key: str | None, split_by: str | None
) -> tuple[Cells, list[str]]:
    """Return the cells of the trend and the names of its lines, in the order of their column."""
    samples = None if sample_key is None else _adata.obs_text(data, sample_key, what="sample_key")
    lines = np.full(data.n_obs, "all", dtype=object)
    known: Any = ["all"]
    if split_by is not None:
        lines = _adata.obs_text(data, split_by, what="split_by")
        split = _adata.obs_column(data, split_by, what="split_by").dropna()
        known = split.cat.categories if hasattr(split, "cat") else np.unique(split)
    kept = np.isfinite(states) & pd.notna(lines) & (True if samples is None else pd.notna(samples))
    if not kept.any():
        keys = ", ".join(f"obs[{key!r}]" for key in (sample_key, split_by) if key is not None)
        raise ValueError(
            f"No cell of the states has values of {keys}; name other columns by sample_key= and split_by=."
        )
    there = set(lines[kept])
    names = [name for name in map(_adata.text_of, known) if name in there]
    return Cells(np.where(kept, states, np.nan), samples, lines), names


def _legend(axes: np.ndarray, title: str, *, own: bool) -> None:
    """Name the lines beside the last panel, for which a figure of ours grows."""
    place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if own else {"loc": "best"}
    columns = -(-len(axes[-1].get_legend_handles_labels()[1]) // _ROWS)
    legend = axes[-1].legend(
        frameon=False, fontsize="small", title=title, title_fontsize="small", ncols=columns, **place
    )
    figure = axes[-1].get_figure(root=True)
    if own and figure is not None:
        figure.set_figwidth(figure.get_figwidth() + legend.get_window_extent().width / figure.dpi)


def _states(column: pd.Series, order: Sequence[Any] | None, key: str) -> tuple[list[str], np.ndarray]:
    """Return the labels of the states to draw and the state of each cell, -1 for none."""
    from scflyformer.data._states import read_state

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
