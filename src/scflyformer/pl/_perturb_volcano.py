"""Effect and p-value of all genes of a perturbation scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scflyformer.data._adata import open_data
from scflyformer.get._perturb_df import perturb_df

from ._figure import COLOURS, GREY, dot_mark, drop_spines, explain, finish, inches_of, open_panels
from ._perturb_titles import panel_title, set_title, state_label
from ._point_labels import label_points

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from mudata import MuData

#: Largest adjusted p-value of a coloured gene.
_LEVEL = 0.05
_SIZE = (4.2, 4.0)


def perturb_volcano(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    readout: Literal["shift", "net_shift"] = "shift",
    table: Literal["auto", "results", "screen"] = "auto",
    p: Literal["value", "tail"] = "value",
    groups: str | Sequence[str] | None = None,
    n_labels: int = 10,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw the effect of each gene of a scan against its p-value.

    A panel per group, a dot per gene. The effect is the shift towards the goal less the mean of the gene's null genes,
    in their standard deviations. Genes with an adjusted p-value (`fdr`) of at most 0.05 are coloured, blue where they
    move cells towards the goal and orange where they move them away; the dashed line is at the largest of their
    p-values. A p-value counts null genes, so it is never below 1 / (1 + number of null genes), and the strongest genes
    stand in one row; ``p="tail"`` tells them apart. After a screen (``method="screen"``) the estimates of all genes are
    drawn, and their rank agreement with exact runs stands in a corner.

    Parameters
    ----------
    adata
        Data with results of :func:`scflyformer.tl.perturb`.
    key
        Key of `uns`: the `key_added` of the run.
    readout
        ``"shift"`` towards the goal; ``"net_shift"``, less that towards the start, which a screen does not estimate.
    table
        Which rows to draw: ``"screen"``, the estimates of all genes; ``"results"``, the genes that were run exactly.
        ``"auto"``: the first, where there is a screen, of the readout ``"shift"``.
    p
        ``"value"``: `p_value` and `fdr`, which count null genes. ``"tail"``: `p_tail` and `fdr_tail`, which
        extrapolate.
    groups
        Groups to draw.
    n_labels
        Number of genes to name in each panel: those with the smallest p-values, of equal ones those with the largest
        effects.
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
        When there is no such run or group; lists near names.
    ValueError
        When no gene has a p-value, an option is none of those named, ``n_labels`` is negative, or one axis was given
        for several groups.

    Examples
    --------
    Every gene of the old cells, ranked by its first-order estimate; the strongest are run exactly.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.perturb(
    ...     adata,
    ...     genes="all",
    ...     method="screen",
    ...     n_top=3,
    ...     state_key="age",
    ...     start=30,
    ...     goal=0,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     max_cells=12,
    ... )
    >>> axis = sf.pl.perturb_volcano(adata, n_labels=3, show=False)

    How well the estimates rank genes, read ``spearman`` of the genes drawn by chance:

    >>> sf.get.perturb_df(adata, table="agreement")[["n_exact", "n_top"]]
       n_exact  n_top
    0       27      3
    """
    if n_labels < 0:
        raise ValueError(f"n_labels is {n_labels}; expected 0 or more.")
    if p not in ("value", "tail"):
        raise ValueError(f"p is {p!r}; expected 'value' or 'tail'.")
    if readout not in ("shift", "net_shift"):
        raise ValueError(f"readout is {readout!r}; expected 'shift' or 'net_shift'.")
    if table == "screen" and readout != "shift":
        raise ValueError(f"table='screen' holds estimates of the shift alone; got readout={readout!r}.")
    if table == "auto":
        screened = readout == "shift" and "screen" in open_data(adata, mod=mod).uns.get(key, ())
        table = "screen" if screened else "results"
    results = perturb_df(adata, key=key, table=table, readout=readout, groups=groups, mod=mod)
    if p == "tail":
        results = results.assign(p_value=results["p_tail"], fdr=results["fdr_tail"])
    drawn = results[np.isfinite(results["effect"]) & np.isfinite(results["p_value"])]
    if not len(drawn):
        raise ValueError(
            f"No row of uns[{key!r}][{table!r}] has an effect and a p-value (groups={groups!r}); they come from null "
            "genes. Run sf.tl.perturb with n_null=200."
        )
    run = open_data(adata, mod=mod).uns[key]
    names = list(dict.fromkeys(drawn["group"]))
    axes = open_panels(ax, len(names), size=_SIZE, n_columns=3)
    width = _SIZE[0] if ax is None else inches_of(ax)
    agreement = run.get("agreement", pd.DataFrame(columns=["group", "spearman", "n_genes"])).dropna(subset="spearman")
    corners: list[list[Artist]] = []
    for axis, name in zip(axes, names, strict=True):
        rows = drawn[drawn["group"] == name]
        _draw_dots(axis, rows, goal=state_label(run["params"], "goal"), room=n_labels > 0)
        set_title(axis, panel_title(run["params"], name, rows, run.get("separability")), inches=width)
        screens = agreement[agreement["group"].astype(str) == name]
        corners.append([_corner(axis, screen, rows) for _, screen in screens.iterrows()])
        drop_spines(axis)
    legend = explain(axes, _volcano_marks(drawn, state_label(run["params"], "goal")), own=ax is None)
    for axis, name, corner in zip(axes, names, corners, strict=True):
        keep_off = corner if legend is None else [*corner, legend]
        _name_genes(axis, drawn[drawn["group"] == name], n_labels, keep_off)
    return finish(axes, ax=ax, show=show, return_fig=return_fig)


def _points(rows: pd.DataFrame) -> np.ndarray:
    """Return effect and -log10 p-value, shape (n_rows, 2)."""
    return np.column_stack([rows["effect"], -np.log10(rows["p_value"].clip(lower=1e-300))])


def _threshold(rows: pd.DataFrame) -> float:
    """Return -log10 of the largest p-value with an adjusted one in `_LEVEL`; NaN where there is none."""
    return float(-np.log10(rows.loc[rows["fdr"] <= _LEVEL, "p_value"].max()))


def _draw_dots(axis: Axes, rows: pd.DataFrame, *, goal: str, room: bool) -> None:
    """Draw dots, the line and the limits of a group; with room above for names."""
    points = _points(rows)
    sure = (rows["fdr"] <= _LEVEL).to_numpy()
    away = points[:, 0] < 0
    many = len(points) > 5000
    for kept, colour, size in ((~sure, GREY, 12), (sure & ~away, COLOURS[0], 22), (sure & away, COLOURS[4], 22)):
        x, y = points[kept].T
        axis.scatter(x, y, s=size, color=colour, alpha=0.75, linewidths=0, rasterized=many)
    if sure.any():
        axis.axhline(_threshold(rows), color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    axis.axvline(0, color="black", linewidth=0.6, zorder=0.5)
    reach = 1.25 * max(float(np.abs(points[:, 0]).max()), 1.0)
    axis.set_xlim(-reach, reach)
    axis.set_ylim(0, (1.4 if room else 1.08) * max(float(points[:, 1].max()), 1e-9))
    axis.set_xlabel(f"← away from {goal}      towards {goal} →\neffect (standard deviations of null genes)")
    axis.set_ylabel("−log10 p-value")


def _volcano_marks(rows: pd.DataFrame, goal: str) -> list[Artist]:
    """Return a handle for each kind of dot, and for the line where there is one."""
    from matplotlib.lines import Line2D

    kinds = {
        f"towards {goal}, fdr ≤ {_LEVEL}": COLOURS[0],
        f"away from it, fdr ≤ {_LEVEL}": COLOURS[4],
        f"fdr > {_LEVEL}": GREY,
    }
    marks: list[Artist] = [dot_mark(words, colour, size=5, alpha=0.75) for words, colour in kinds.items()]
    if (rows["fdr"] <= _LEVEL).any():
        words = f"largest p-value with fdr ≤ {_LEVEL}"
        marks.append(Line2D([], [], color="black", linewidth=0.8, linestyle="--", label=words))
    return marks


def _corner(axis: Axes, agreement: pd.Series, rows: pd.DataFrame) -> Text:
    """Write the agreement of screen and exact runs into the lower corner on the side with fewer low points."""
    points = _points(rows)
    low = points[points[:, 1] < 0.2 * axis.get_ylim()[1]]
    left = (low[:, 0] < -0.3 * axis.get_xlim()[1]).sum() < (low[:, 0] > 0.3 * axis.get_xlim()[1]).sum()
    n_genes = int(agreement.get("n_exact", agreement["n_genes"]))
    words = f"screen against exact:\nSpearman {agreement['spearman']:.2f}, {n_genes} genes"
    return axis.text(
        0.02 if left else 0.98, 0.02, words, transform=axis.transAxes, ha="left" if left else "right", va="bottom",
        fontsize="x-small", zorder=5, bbox={"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 1},
    )  # fmt: skip


def _name_genes(axis: Axes, rows: pd.DataFrame, most: int, taken: Sequence[Artist]) -> None:
    """Name the genes with the smallest p-values."""
    order = np.lexsort([-rows["effect"].abs(), rows["p_value"]])[:most]
    points = _points(rows)
    across = np.linspace(*axis.get_xlim(), 80)
    line = np.column_stack([across, np.full(len(across), _threshold(rows))])
    spots = np.vstack([points, line[np.isfinite(line[:, 1])]])
    label_points(axis, points[order], rows["gene"].iloc[order].astype(str).tolist(), points=spots, taken=taken)
