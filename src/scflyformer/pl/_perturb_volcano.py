"""Shift and share of false discoveries of all genes of a perturbation scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
_LINE = -np.log10(_LEVEL)
_SIZE = (4.2, 4.0)


def perturb_volcano(
    adata: AnnData | MuData,
    *,
    key: str = "perturb",
    readout: str = "net_shift",
    groups: str | Sequence[str] | None = None,
    n_labels: int = 10,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw the shift of each gene of a scan against its share of false discoveries.

    A panel per group, a dot per gene, `shift` against `fdr`. Genes with an `fdr` of at most 0.05, which the dashed line
    marks, are coloured, blue where they move cells towards the goal and orange where they move them away. `fdr` counts
    permutations or null genes, so it ends at a floor, and the strongest genes may be in one row. After a screen the
    estimates of all genes are drawn, and their rank agreement with exact runs is given in a corner.

    Parameters
    ----------
    adata
        Data with results of :func:`scflyformer.tl.perturb`.
    key
        Key of `uns`: the `key_added` of the run.
    readout
        ``"net_shift"``, the shift towards the goal less that towards the start, its parts ``"net_shift_linear"`` and
        ``"net_shift_transformer"``, ``"shift"`` towards the goal, or another readout of the results.
    groups
        Groups to draw.
    n_labels
        Number of genes to name in each panel: those with the smallest `fdr`, of equal ones those with the largest
        shifts.
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
        When there is no such run, readout or group; lists near names.
    ValueError
        When no gene has an `fdr`, ``n_labels`` is negative, or one axis was given for several groups.

    Examples
    --------
    Every gene of the old cells, estimated to first order; the strongest are run exactly.

    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.perturb(
    ...     adata,
    ...     genes="all",
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
    results = perturb_df(adata, key=key, readout=readout, groups=groups, mod=mod)
    drawn = results[np.isfinite(results["shift"]) & np.isfinite(results["fdr"])]
    if not len(drawn):
        raise ValueError(
            f"No row of uns[{key!r}]['results'] has an fdr (groups={groups!r}); it comes from permuted samples or null "
            "genes. Run sf.tl.perturb with sample_key= and n_null=200."
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
    """Return shift and -log10 fdr, shape (n_rows, 2)."""
    return np.column_stack([rows["shift"], -np.log10(rows["fdr"].clip(lower=1e-300))])


def _draw_dots(axis: Axes, rows: pd.DataFrame, *, goal: str, room: bool) -> None:
    """Draw dots, the line and the limits of a group; with room above for names."""
    points = _points(rows)
    sure = (rows["fdr"] <= _LEVEL).to_numpy()
    away = points[:, 0] < 0
    many = len(points) > 5000
    for kept, colour, size in ((~sure, GREY, 12), (sure & ~away, COLOURS[0], 22), (sure & away, COLOURS[4], 22)):
        x, y = points[kept].T
        axis.scatter(x, y, s=size, color=colour, alpha=0.75, linewidths=0, rasterized=many)
    axis.axhline(_LINE, color="black", linewidth=0.8, linestyle="--", zorder=0.5)
    axis.axvline(0, color="black", linewidth=0.6, zorder=0.5)
    reach = 1.25 * max(float(np.abs(points[:, 0]).max()), 1e-12)
    axis.set_xlim(-reach, reach)
    axis.set_ylim(0, (1.4 if room else 1.08) * max(float(points[:, 1].max()), _LINE))
    axis.set_xlabel(f"← away from {goal}      towards {goal} →\nshift (change in cosine)")
    axis.set_ylabel("−log10 fdr")


def _volcano_marks(rows: pd.DataFrame, goal: str) -> list[Artist]:
    """Return a handle for each kind of dot, and for the line where there is one."""
    from matplotlib.lines import Line2D

    kinds = {
        f"towards {goal}, fdr ≤ {_LEVEL}": COLOURS[0],
        f"away from it, fdr ≤ {_LEVEL}": COLOURS[4],
        f"fdr > {_LEVEL}": GREY,
    }
    marks: list[Artist] = [dot_mark(words, colour, size=5, alpha=0.75) for words, colour in kinds.items()]
    marks.append(Line2D([], [], color="black", linewidth=0.8, linestyle="--", label=f"fdr {_LEVEL}"))
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
    """Name the genes with the smallest share of false discoveries."""
    order = np.lexsort([-rows["shift"].abs(), rows["fdr"]])[:most]
    points = _points(rows)
    across = np.linspace(*axis.get_xlim(), 80)
    spots = np.vstack([points, np.column_stack([across, np.full(len(across), _LINE)])])
    label_points(axis, points[order], rows["gene"].iloc[order].astype(str).tolist(), points=spots, taken=taken)
