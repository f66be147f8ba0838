"""Annotated cells on a map: labels, their scores, where the annotation abstained, and novelty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer.data._adata import obs_column, open_data, text_of
from scflyformer.data._labels import UNKNOWN
from scflyformer.data._matrix import missing_key
from scflyformer.data._stored import annotated_column

from ._figure import COLOURS, as_names, dot_mark, finish, legend_beside, open_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

PANELS = ("label", "score", "unknown", "novelty")
#: Panels drawn where none is named.
USUAL = PANELS[:3]
#: Columns of numbers, and what their colour bar is called.
NUMBERS = {"score": "probability of the best label", "novelty": "share of labelled cells\nthat are less novel"}
NO_LABEL = "no label"
PALE, PALER = "#CCCCCC", "#E8E8E8"
#: Inches of a panel's side, and labels that a legend of that height holds in one column.
SIDE, LEGEND_ROWS = 3.3, 18
#: More labels than this are numbered on the map too, since so many colours cannot be told apart.
MAX_COLOURS = 10
#: Distance that numbers on the map keep from one another where they can, as a share of its width.
CLEARANCE = 0.05
#: More cells than this are drawn as one image, which keeps PDF and SVG files small.
MAX_VECTOR = 5000


def annotation(
    adata: AnnData | MuData,
    *,
    key: str = "annotation",
    basis: str = "umap",
    panels: Literal["label", "score", "unknown", "novelty"]
    | Sequence[Literal["label", "score", "unknown", "novelty"]]
    | None = None,
    size: float | None = None,
    seed: int = 0,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw what :func:`scflyformer.tl.annotate` wrote on a map of the cells, such as a UMAP, side by side.

    The first panel shows the labels, the second the score (the calibrated probability of the best label), and the third
    the cells labelled `Unknown`, on which the annotation abstained, over all others in grey. Points are drawn in random
    order, so that no label hides another. Colours are those of `uns[key + "_colors"]` where scanpy has stored some; the
    object is not changed. More than ten labels are numbered, on the map (at a cell in the middle of the label) and in
    the legend.

    Parameters
    ----------
    adata
        Annotated cells with a map in `obsm`.
    key
        The `key_added` of the call; labels are in `obs[key]`, scores in `obs[key + "_score"]`.
    basis
        The map: a key of `obsm`, with or without its `X_`. Its first two columns are drawn.
    panels
        Panels to draw: `"label"`, `"score"`, `"unknown"`, `"novelty"` (`obs[key + "_novelty"]`: how unlike any labelled
        cell a cell is). By default the first three; on an axis of yours, `"label"`.
    size
        Area of a point in square points (1/72 inch); by default smaller the more cells there are.
    seed
        Seed of the order in which points are drawn.
    mod
        Modality of a MuData.
    ax
        Axis to draw on, for one panel; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis (an array of them for several panels); the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    KeyError
        When the map or a column is missing; lists near names.
    ValueError
        When the map has fewer than two columns, scores or novelty are no numbers, `panels` holds none or others than
        its options, or one axis was given for several panels.

    Examples
    --------
    >>> import scanpy as sc, scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.embed(adata, model="fly-tiny")
    >>> sf.tl.annotate(
    ...     adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ... )
    >>> sc.pp.neighbors(adata, use_rep="X_scflyformer")
    >>> sc.tl.umap(adata)
    >>> axes = sf.pl.annotation(adata, show=False)
    >>> [axis.get_title() for axis in axes[:2]]
    ['annotation', 'annotation_score']
    """
    names = _chosen_panels(panels, ax)
    data = open_data(adata, mod=mod)
    points, title = _map(data, basis)
    labels = _labels(annotated_column(data, key))
    numbers = {name: _numbers(data, key, name) for name in NUMBERS if name in names}
    axes = open_panels(ax, len(names), size=(SIDE, SIDE), n_columns=len(USUAL) if len(names) <= len(USUAL) else 2)
    order = np.random.default_rng(seed).permutation(data.n_obs)
    area = float(np.clip(60_000 / data.n_obs, 0.5, 20)) if size is None else size
    dots = {"s": area, "linewidths": 0, "rasterized": data.n_obs > MAX_VECTOR}
    for axis, name in zip(axes, names, strict=True):
        if name == "label":
            _draw_labels(axis, points, labels, order, dots, colours=_colours(data, key, labels), own=ax is None)
            axis.set_title(key, fontsize="medium")
        elif name in numbers:
            _draw_numbers(axis, points, numbers[name], order, dots, what=NUMBERS[name])
            axis.set_title(f"{key}_{name}", fontsize="medium")
        else:
            axis.set_title(_draw_unknown(axis, points, labels, order, dots), fontsize="medium")
        axis.set(xlabel=f"{title}1", ylabel=f"{title}2", xticks=[], yticks=[])
    return finish(axes, ax=ax, show=show, return_fig=return_fig)


def _chosen_panels(panels: str | Sequence[str] | None, ax: Axes | None) -> list[str]:
    if panels is None:
        return list(USUAL) if ax is None else ["label"]
    names = as_names(panels)
    if not names or not set(names) <= set(PANELS):
        raise ValueError(f"panels is {panels!r}; expected one or more of {', '.join(map(repr, PANELS))}.")
    return names


def _map(data: AnnData, basis: str) -> tuple[np.ndarray, str]:
    """Return the places of the cells and the name of the map, by scanpy's rule: the key itself, else with `X_`."""
    found = basis if basis in data.obsm else f"X_{basis.removeprefix('X_')}"
    if found not in data.obsm:
        raise KeyError(
            f"{missing_key(found, list(data.obsm), what='basis', place='obsm')} To make a UMAP, run "
            "sf.tl.embed(adata), sc.pp.neighbors(adata, use_rep='X_scflyformer') and sc.tl.umap(adata) first."
        )
    points = np.asarray(data.obsm[found])
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(
            f"obsm[{found!r}] has the shape {points.shape}; expected two columns or more. Pass another basis=."
        )
    return points[:, :2].astype(float), found.removeprefix("X_").upper()


def _labels(column: pd.Series) -> pd.Categorical:
    """Return the labels that cells have, in the column's order, then `Unknown` and last cells without any."""
    labels = column.astype("category").cat.remove_unused_categories().cat.rename_categories(str).array
    names = [name for name in labels.categories if name != UNKNOWN]
    names += [UNKNOWN] * (UNKNOWN in labels.categories)
    if not labels.isna().any():
        return labels.set_categories(names)
    return labels.set_categories([*(name for name in names if name != NO_LABEL), NO_LABEL]).fillna(NO_LABEL)


def _numbers(data: AnnData, key: str, name: str) -> np.ndarray:
    """Return the numbers that go with the labels: ``"score"`` or ``"novelty"``."""
    column = annotated_column(data, key, column=f"{key}_{name}")
    if not pd.api.types.is_numeric_dtype(column):
        raise ValueError(
            f"obs[{column.name!r}] holds {column.dtype}; expected numbers from 0 to 1. Run sf.tl.annotate again."
        )
    return column.to_numpy(dtype=float, na_value=np.nan)


def _colours(data: AnnData, key: str, labels: pd.Categorical) -> list[Any]:
    """Return a colour for each label: scanpy's where it has stored some, else our own, then scanpy's palettes."""
    stored, column = data.uns.get(f"{key}_colors"), obs_column(data, key, what="key")
    if stored is not None and hasattr(column, "cat") and len(stored) == len(column.cat.categories):
        known = dict(zip(map(text_of, column.cat.categories), stored, strict=True))
    else:
        named = [name for name in labels.categories if name not in (UNKNOWN, NO_LABEL)]
        known = dict(zip(named, _palette(len(named)), strict=True))
    return [known.get(name, PALER if name == NO_LABEL else PALE) for name in labels.categories]


def _palette(n_labels: int) -> list[Any]:
    if n_labels <= len(COLOURS):
        return list(COLOURS[:n_labels])
    from scanpy.plotting import palettes

    known = next((some for some in (palettes.default_20, palettes.default_28) if len(some) >= n_labels), None)
    known = palettes.default_102 if known is None else known
    return [known[number % len(known)] for number in range(n_labels)]


def _draw_labels(
    axis: Axes, points: np.ndarray, labels: pd.Categorical, order: np.ndarray, dots: dict, *, colours: list, own: bool
) -> None:
    from matplotlib.colors import to_rgba_array

    axis.scatter(points[order, 0], points[order, 1], c=to_rgba_array(colours)[labels.codes[order]], **dots)
    names = list(labels.categories)
    numbered = len(names) > MAX_COLOURS
    if numbered:
        _number_labels(axis, points, labels)
        names = [name if name in (UNKNOWN, NO_LABEL) else f"{n}  {name}" for n, name in enumerate(names, start=1)]
    handles = [dot_mark(name, colour, size=None) for colour, name in zip(colours, names, strict=True)]
    legend_beside(
        axis, own=own, handles=handles, ncols=-(-len(names) // LEGEND_ROWS),
        fontsize="x-small" if numbered else "small", handletextpad=0.1, columnspacing=0.8, labelspacing=0.35,
    )  # fmt: skip


def _number_labels(axis: Axes, points: np.ndarray, labels: pd.Categorical) -> None:
    """Write each label's number at one of its cells: the nearest to their median that is not at another number."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=2, foreground="white")]
    on_map = np.isfinite(points).all(axis=1)
    points, codes = points[on_map], labels.codes[on_map]
    lowest, span = (points.min(axis=0), np.ptp(points, axis=0)) if len(points) else (0, 0)
    taken: list[np.ndarray] = []
    for code in np.argsort(np.bincount(codes), kind="stable"):  # small labels first: they have the least choice
        inside = (points[codes == code] - lowest) / np.where(span, span, 1)
        if labels.categories[code] in (UNKNOWN, NO_LABEL) or not len(inside):
            continue
        off = np.linalg.norm(inside - np.median(inside, axis=0), axis=1)
        free = np.full(len(inside), 1.0)
        if taken:
            free = np.min([np.linalg.norm(inside - other, axis=1) for other in taken], axis=0)
        spot = inside[np.lexsort((off, -np.minimum(free, CLEARANCE)))[0]]
        taken.append(spot)
        x, y = spot * span + lowest
        axis.text(x, y, str(code + 1), ha="center", va="center", fontsize=7, weight="bold", path_effects=outline)


def _draw_numbers(
    axis: Axes, points: np.ndarray, numbers: np.ndarray, order: np.ndarray, dots: dict, *, what: str
) -> None:
    """Colour cells by number; cells without one are grey and lie below."""
    none = np.isnan(numbers)
    axis.scatter(points[none, 0], points[none, 1], color=PALE, **dots)
    order = order[~none[order]]
    image = axis.scatter(points[order, 0], points[order, 1], c=numbers[order], vmin=0, vmax=1, cmap="viridis", **dots)
    place = axis.inset_axes((1.04, 0.1, 0.05, 0.8))  # beside the map, wherever a wider panel stands above or below
    axis.figure.colorbar(image, cax=place, label=what)


def _draw_unknown(axis: Axes, points: np.ndarray, labels: pd.Categorical, order: np.ndarray, dots: dict) -> str:
    """Draw abstentions over the other cells; return their number in words."""
    abstained = np.asarray(labels == UNKNOWN)
    axis.scatter(points[~abstained, 0], points[~abstained, 1], color=PALE, **dots)
    order = order[abstained[order]]
    axis.scatter(points[order, 0], points[order, 1], color=COLOURS[4], **dots)
    return f"{UNKNOWN}: {len(order):,} of {len(labels):,} cells ({len(order) / len(labels):.1%})"
