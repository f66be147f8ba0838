"""Shifts of perturbed genes compared with those of null genes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer.data._adata import open_data
from scflyformer.get._perturb_df import perturb_df

from ._figure import (
    COLOURS,
    GREY,
    as_names,
    dot_mark,
    drop_spines,
    explain,
    finish,
    inches_of,
    label_groups,
    open_panels,
)
from ._perturb_titles import LETTERS, panel_title, set_title, state_label
from ._violin import violin

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

By = Literal["cell", "sample"]
#: What a run names in place of a class where the goal is none of the classifier's.
_OWN_CLASS = "the cell's own"
_BAND = (0.025, 0.975)
_WIDTH = 1.96
_HALF = 0.42
#: Inches a gene takes, and the most it takes so that its name stands level; genes up to which names do.
_SLOT, _WIDEST, _FLAT = 0.55, 1.1, 6
#: Letters that stand beside the axis in one line.
_TALL = 40


def perturb_shift(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    genes: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    readout: str = "shift",
    by: By = "cell",
    n_genes: int = 20,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw how far each gene's perturbation moves cells towards the goal, over the band of its null genes.

    A panel per group. For each gene: the shifts of the middle 95 % of its cells as a violin, the mean of each sample as
    a dot, the mean over samples as a diamond with its 95 % interval, and behind them in grey the mean shift of the null
    genes and 1.96 of their standard deviations either side. The band is for the mean, not for single cells. A filled
    diamond has an adjusted p-value (`fdr`) of at most 0.05. The figure says what the marks are. The number of its cells
    is below each gene. A group whose states the embedding can hardly tell apart is titled "not interpretable". After a
    scan of all genes there are violins and dots for the genes that were run exactly alone.

    Parameters
    ----------
    adata
        Data with results of :func:`scflyformer.tl.perturb`.
    key
        Key of `uns`: the `key_added` of the run.
    genes
        Genes or sets to draw, in this order, named as they were asked for.
    groups
        Groups to draw.
    readout
        What is drawn: ``"shift"`` towards the goal; ``"net_shift"``, less that towards the start, and its parts
        ``"net_shift_linear"`` and ``"net_shift_transformer"``; ``"shift_start"``, ``"shift_<state>"``; ``"age"``, the
        change in the age that a clock predicts; ``"probability"``, the change in a classifier's probability. The last
        two stand where the run was given a clock or a classifier.
    by
        ``"cell"``: violins of the cells and dots for the samples. ``"sample"``: dots for the samples alone, on whose
        scale the null band is easier to see.
    n_genes
        Without ``genes``, at most this many are drawn: those with the largest effect.
    mod
        Modality of a MuData.
    ax
        Axis to draw on, for one group; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis (an array of them for several groups); the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    KeyError
        When there is no such run, gene, group or readout (lists near names).
    ValueError
        When ``by`` is none of its options, no gene and group asked for has a result, or one axis was given
        for several groups.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.perturb(
    ...     adata,
    ...     genes=["Msp300", "Hsp68"],
    ...     state_key="age",
    ...     start=30,
    ...     goal=0,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     n_null=10,
    ...     max_cells=10,
    ... )
    >>> axis = sf.pl.perturb_shift(adata, show=False)
    >>> [label.get_text().split()[0] for label in axis.get_xticklabels()]
    ['Msp300', 'Hsp68']

    To a file:

    >>> figure = sf.pl.perturb_shift(adata, by="sample", return_fig=True)
    >>> figure.savefig("shifts.pdf", bbox_inches="tight")
    """
    if by not in ("cell", "sample"):
        raise ValueError(f"by is {by!r}; expected 'cell' or 'sample'.")
    results = perturb_df(adata, key=key, readout=readout, genes=genes, groups=groups, mod=mod)
    order = _order_genes(results, genes, n_genes)
    if not order or not len(results):
        asked = f"genes={genes!r}, groups={groups!r}, n_genes={n_genes}"
        raise ValueError(f"Nothing to draw: no row of uns[{key!r}]['results'] is of {asked}. Leave them out for all.")
    cells = perturb_df(adata, key=key, table="cells", genes=order, groups=groups, mod=mod)
    run = open_data(adata, mod=mod).uns[key]
    names = list(dict.fromkeys(results["group"]))
    slot = _SLOT if len(order) > _FLAT else min(max(_SLOT, (_longest(order) + 1) / LETTERS), _WIDEST)
    width = 1.8 + slot * len(order)
    axes = open_panels(ax, len(names), size=(width, 3.8), n_columns=max(1, int(12 / width)))
    if ax is not None:
        width, slot = inches_of(ax), inches_of(ax) / len(order)
    for axis, name in zip(axes, names, strict=True):
        tables = [table[table["group"] == name] for table in (results, cells)]
        _draw_genes(axis, *tables, order=order, by=by, readout=readout)
        _label_genes(axis, tables[0], order, flat=len(order) <= _FLAT and _longest(order) < LETTERS * slot)
        axis.axhline(0, color="black", linewidth=0.6, zorder=0.5)
        lines = _readout_label(readout, run).split("\n")
        axis.set_ylabel("\n".join(textwrap.fill(line, _TALL) for line in lines))
        set_title(axis, panel_title(run["params"], name, tables[0], run.get("separability")), inches=width)
        drop_spines(axis)
    explain(axes, _shift_marks(results[results["gene"].isin(order)], cells, by=by, readout=readout), own=ax is None)
    return finish(axes, ax=ax, show=show, return_fig=return_fig)


def _order_genes(results: pd.DataFrame, genes: str | Sequence[str] | None, most: int) -> list[str]:
    """Return the genes to draw: as asked, or those with the largest effect in the order of the run."""
    if genes is not None:
        return as_names(genes)
    names = list(dict.fromkeys(results["gene"]))
    size = results["effect"].abs().fillna(results["shift"].abs()).groupby(results["gene"], sort=False).max()
    chosen = set(size.sort_values(ascending=False, kind="stable").index[:most])
    return [name for name in names if name in chosen]


def _draw_genes(
    axis: Axes,
    results: pd.DataFrame,
    cells: pd.DataFrame,
    *,
    order: list[str],
    by: By,
    readout: str,
) -> None:
    rows = results.set_index("gene")
    for place, gene in enumerate(order):
        if gene not in rows.index or not np.isfinite(rows.loc[gene, "shift"]):
            continue
        line = rows.loc[gene]
        middle, spread = line["null_mean"], (line["shift"] - line["null_mean"]) / line["effect"]
        if np.isfinite(spread):
            low, high = middle - _WIDTH * spread, middle + _WIDTH * spread
            axis.fill_between([place - _HALF, place + _HALF], low, high, color=GREY, alpha=0.35, linewidth=0, zorder=1)
            axis.hlines(middle, place - _HALF, place + _HALF, color=GREY, linewidth=1, zorder=1)
        shifts = _values(cells, gene, readout)
        if by == "cell" and len(shifts):
            low, high = np.quantile(shifts, _BAND)
            violin(axis, shifts[(shifts >= low) & (shifts <= high)], place, colour=COLOURS[0])
        if line["n_samples"] > 1 and len(shifts):
            of_gene = cells[cells["gene"] == gene]
            means = of_gene.groupby("sample", observed=True)[readout].mean().to_numpy()
            across = np.linspace(-0.12, 0.12, len(means))
            axis.scatter(place + across, means, s=14, color=COLOURS[1], linewidths=0, zorder=3)
        low, high, fdr = (line[name] for name in ("ci_low", "ci_high", "fdr"))
        if np.isfinite(low):
            axis.vlines(place, low, high, color="black", linewidth=1.2, zorder=4)
        face = "black" if fdr <= 0.05 else "white"
        axis.scatter(place, line["shift"], marker="D", s=26, zorder=5, edgecolors="black", facecolors=face)


def _shift_marks(results: pd.DataFrame, cells: pd.DataFrame, *, by: By, readout: str) -> list[Artist]:
    """Return a handle for each kind of mark that is drawn."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    line = "mean" if results["ci_low"].isna().all() else "mean, 95 % interval"
    diamond: dict[str, Any] = {"marker": "D", "markersize": 5, "markeredgecolor": "black", "color": "black"}
    diamond["linewidth"] = 1.2 * (line != "mean")
    if results["fdr"].notna().any():
        ends = {"black": "fdr ≤ 0.05", "white": "fdr > 0.05"}
    else:
        ends = {"white": "not tested"}
    marks: list[Artist] = [
        Line2D([], [], markerfacecolor=face, label=f"{line}; {end}", **diamond) for face, end in ends.items()
    ]
    there = readout in cells and cells[readout].notna().any()
    if there and (results["n_samples"] > 1).any():
        marks.append(dot_mark("mean of a sample", COLOURS[1]))
    if there and by == "cell":
        marks.append(Patch(facecolor=COLOURS[0], alpha=0.55, label="cells (middle 95 %)"))
    if results["effect"].notna().any():
        marks.append(Patch(facecolor=GREY, alpha=0.35, label="null genes (mean ± 1.96 sd)"))
    return marks


def _values(table: pd.DataFrame, gene: str, column: str) -> np.ndarray:
    """Return a gene's finite values; none where the table lacks the column."""
    if column not in table:
        return np.empty(0)
    return table.loc[table["gene"] == gene, column].dropna().to_numpy(dtype=float)


def _longest(names: list[str]) -> int:
    return max(map(len, names))


def _label_genes(axis: Axes, results: pd.DataFrame, order: list[str], *, flat: bool) -> None:
    """Name the genes and the number of their cells: level where the longest name fits, else aslant."""
    counts = results.set_index("gene")["n_cells"]
    gap = "\n" if flat else " "
    label_groups(axis, [f"{gene}{gap}({int(counts.get(gene, 0))})" for gene in order], flat=flat)
    axis.set_xlim(-0.6, len(order) - 0.4)


def _readout_label(readout: str, run: Mapping[str, Any]) -> str:
    """Say what is drawn, and in which unit."""
    params = run["params"]
    if readout in ("shift", "shift_start"):
        state = state_label(params, "goal" if readout == "shift" else "start")
        return f"shift towards {state}\n(change in cosine)"
    if readout.startswith("net_shift"):
        towards, less = state_label(params, "goal"), state_label(params, "start")
        part = {"net_shift_linear": ", linear part", "net_shift_transformer": ", transformer"}.get(readout, "")
        return f"shift towards {towards} less towards {less}{part}\n(change in cosine)"
    if readout.startswith("shift_"):
        return f"shift towards {run['states'][readout]}\n(change in cosine)"
    if readout == "age":
        return f"change in predicted {params.get('clock_age_key', 'age')}"
    label = str(params.get("probability_of", _OWN_CLASS))
    return f"change in probability of {f'{_OWN_CLASS} class' if label == _OWN_CLASS else label}"
