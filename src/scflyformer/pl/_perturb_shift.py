"""Shifts of perturbed genes beside those of null genes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scflyformer._adata import open_data
from scflyformer.get._perturb_df import perturb_df

from ._figure import COLOURS, GREY, drop_spines, finish, open_panels
from ._violin import violin

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

By = Literal["cell", "sample"]
_BAND = (0.025, 0.975)
_HALF = 0.42


def perturb_shift(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    genes: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    by: By = "cell",
    n_genes: int = 20,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw how far each gene's perturbation moves cells towards the goal, over the band of its null genes.

    A panel per group. For each gene: the shifts of the middle 95 % of its cells as a violin, the mean of each sample as
    a dot, the mean over samples as a diamond with its 95 % interval, and behind them in grey the range that holds 95 %
    of the null genes' mean shifts, with its median. The band is for the mean, not for single cells. A filled diamond
    has an adjusted p-value (`fdr`) of at most 0.05. Below a gene stands the number of its cells.

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
        When there is no such run, gene or group; lists near names.
    ValueError
        When ``by`` is none of its options, or one axis was given for several groups.
    """
    if by not in ("cell", "sample"):
        raise ValueError(f"by is {by!r}; expected 'cell' or 'sample'.")
    results = perturb_df(adata, key=key, genes=genes, groups=groups, mod=mod)
    order = _order(results, genes, n_genes)
    cells = perturb_df(adata, key=key, table="cells", genes=order, groups=groups, mod=mod)
    null = perturb_df(adata, key=key, table="null", genes=order, groups=groups, mod=mod)
    params = open_data(adata, mod=mod).uns[key]["params"]
    names = list(dict.fromkeys(results["group"]))
    axes = open_panels(ax, len(names), size=(1.8 + 0.55 * len(order), 3.6), n_columns=max(1, 12 // len(order)))
    for axis, name in zip(axes, names, strict=True):
        tables = (table[table["group"] == name] for table in (results, cells, null))
        _panel(axis, *tables, order=order, by=by)
        axis.axhline(0, color="black", linewidth=0.6, zorder=0.5)
        axis.set_ylabel(f"shift towards {params['goal']}")
        verb = {"delete": "deleted", "overexpress": "overexpressed"}[str(params["kind"])]
        title = f"{verb} in {params['state_key']} {params['start']}"
        axis.set_title(title if name == "all" else f"{name}: {title}", fontsize="medium")
        drop_spines(axis)
    return finish(axes if len(axes) > 1 else axes[0], ax=ax, show=show, return_fig=return_fig)


def _order(results: pd.DataFrame, genes: str | Sequence[str] | None, most: int) -> list[str]:
    """Return the genes to draw: as asked, or those with the largest effect in the order of the run."""
    if genes is not None:
        return [genes] if isinstance(genes, str) else [str(name) for name in genes]
    names = list(dict.fromkeys(results["gene"]))
    size = results["effect"].abs().fillna(results["shift"].abs()).groupby(results["gene"], sort=False).max()
    chosen = set(size.sort_values(ascending=False, kind="stable").index[:most])
    return [name for name in names if name in chosen]


def _panel(axis: Axes, results: pd.DataFrame, cells: pd.DataFrame, null: pd.DataFrame, *, order: list, by: By) -> None:
    rows = results.set_index("gene")
    for place, gene in enumerate(order):
        if gene not in rows.index:
            continue
        line = rows.loc[gene]
        band = null.loc[null["gene"] == gene, "shift"].dropna().to_numpy()
        if len(band):
            low, middle, high = np.quantile(band, [_BAND[0], 0.5, _BAND[1]])
            axis.fill_between([place - _HALF, place + _HALF], low, high, color=GREY, alpha=0.35, linewidth=0, zorder=1)
            axis.hlines(middle, place - _HALF, place + _HALF, color=GREY, linewidth=1, zorder=1)
        mine = cells[cells["gene"] == gene]
        if by == "cell":
            shifts = mine["shift"].to_numpy()
            low, high = np.quantile(shifts, _BAND)
            violin(axis, shifts[(shifts >= low) & (shifts <= high)], place, colour=COLOURS[0])
        if line["ci_over"] == "samples":
            means = mine.groupby("sample", observed=True)["shift"].mean().to_numpy()
            spread = np.linspace(-0.12, 0.12, len(means))
            axis.scatter(place + spread, means, s=14, color=COLOURS[1], linewidths=0, zorder=3)
        sure = np.isfinite(line["fdr"]) and line["fdr"] <= 0.05
        if np.isfinite(line["ci_low"]):
            axis.vlines(place, line["ci_low"], line["ci_high"], color="black", linewidth=1.2, zorder=4)
        axis.scatter(
            place,
            line["shift"],
            marker="D",
            s=26,
            zorder=5,
            edgecolors="black",
            facecolors="black" if sure else "white",
        )
    counts = [int(rows.loc[gene, "n_cells"]) if gene in rows.index else 0 for gene in order]
    labels = [f"{gene}\n({n})" for gene, n in zip(order, counts, strict=True)]
    axis.set_xticks(range(len(order)), labels, rotation=45 if len(order) > 6 else 0, fontsize="small")
    axis.set_xlim(-0.6, len(order) - 0.4)
