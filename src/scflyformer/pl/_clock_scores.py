"""Scores of clocks over groups of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from scflyformer._words import one_of
from scflyformer.data._adata import open_data
from scflyformer.get._clock_df import clock_df

from ._age_clock import chosen_features
from ._figure import COLOURS, GREY, drop_spines, finish, inches_of, label_groups, legend_beside, open_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

Score = Literal["r2", "spearman", "mae"]
#: Where the axis of R² ends below; lower bars are cut there and their value is written.
FLOOR = -0.5
#: Inches of a bar where there are few and where there are more than `FEW`, of the room between groups, and of the axis.
BAR, SLIM, ROOM, MARGIN = 0.24, 0.12, 0.2, 0.9
FEW = 24
#: Letters that a horizontal label holds for each inch of its group's width, and groups up to which width is found.
LETTERS, FLAT_GROUPS = 12, 10


def clock_scores(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    score: Score = "r2",
    features: str | Sequence[str] | None = None,
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw how well each group's clock does, a bar for each feature set, with 95 % intervals over samples.

    The clock of all cells comes first, then the groups (cell types), that with the best score of the first feature set
    in front. The number of its cells is below each group. R² is below 0 where a clock is worse than the mean age; a bar
    below -0.5 is cut there, and its value written into it; a whisker that runs on below ends there. There is none where
    :func:`scflyformer.tl.age_clock` found no interval.

    Parameters
    ----------
    adata
        Cells with predicted ages.
    key
        The `key_added` of the call.
    score
        ``"r2"`` (on the scale fitted), ``"spearman"``, or ``"mae"`` (mean absolute error, in the unit of age; less is
        better).
    features
        Feature sets to draw, as in :func:`scflyformer.pl.age_clock`; those without the score are left out.
    mod
        Modality of a MuData.
    ax
        Axis to draw on; a new figure, the wider the more groups, without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis; the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    KeyError
        When there is no such clock or feature set, or a saved clock was applied to cells without ages.
    ValueError
        When `score` is none of its options, or no feature set is asked for or has it.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     groupby="cell_type",
    ...     min_cells=25,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines=["expression"],
    ... )
    >>> axis = sf.pl.clock_scores(adata, score="mae", show=False)

    Groups with too few cells for a clock are not drawn:

    >>> sf.get.clock_df(adata, table="skipped")["group"].tolist()
    ['Astrocyte-like', 'Mip', 'T4.T5', 'Tm5c']
    """
    one_of("score", score, get_args(Score))
    results = clock_df(adata, key=key, mod=mod)
    results["group"] = results["group"].astype(str)
    names = chosen_features(features, list(dict.fromkeys(results["features"])), key)
    scored = [name for name in names if results.loc[results["features"] == name, score].notna().any()]
    if not scored:
        raise ValueError(f"None of {', '.join(map(repr, names))} has a {score}; draw another score or other features.")
    names = scored
    rows = results[results["features"].isin(names)].set_index(["features", "group"])
    order = _order_groups(rows[score].loc[names[0]], score)
    longest = max(map(len, order)) + 1
    slot = (BAR if len(names) * len(order) <= FEW else SLIM) * len(names) + ROOM
    slot = max(slot, longest / LETTERS, 2.5 / len(order)) if len(order) <= FLAT_GROUPS else slot
    axis = open_axes(ax, size=(MARGIN + slot * len(order), 4.0))
    if ax is not None:
        slot = inches_of(axis) / len(order)
    floor = _floor(rows[[score, f"{score}_low"]].to_numpy(dtype=float), score)
    width = (1 - min(ROOM / slot, 0.4)) / len(names)
    for number, name in enumerate(names):
        places = np.arange(len(order)) + width * (number - (len(names) - 1) / 2)
        bars = rows.loc[name].reindex(order)
        label = name + _split_words(bars["split"], rows["split"])
        _bars(axis, places, bars, score, floor=floor, width=width, colour=COLOURS[number % len(COLOURS)], label=label)
    _label_bars(axis, rows, order, names[0], flat=longest <= LETTERS * slot)
    if score != "mae":
        axis.axhline(0, color="black", linewidth=0.8, zorder=2.5)
    if np.isfinite(floor):
        axis.set_ylim(bottom=floor)
    axis.set_ylabel(_score_label(score, rows, str(open_data(adata, mod=mod).uns[key]["params"]["age_key"])))
    sure = "\nlines: 95 % intervals over samples" if rows[f"{score}_low"].notna().any() else ""
    axis.set_title(_split_title(rows) + sure, fontsize="medium", loc="left")
    if axis.get_legend_handles_labels()[1] != names[:1]:
        legend_beside(axis, own=ax is None)
    drop_spines(axis)
    return finish(axis, ax=ax, show=show, return_fig=return_fig)


def _order_groups(values: pd.Series, score: Score) -> list[str]:
    """Return the groups: all cells, then the best first; those without a score last."""
    first = [name for name in values.index if name == "all"]
    return first + list(values.drop(first).sort_values(ascending=score == "mae", kind="stable").index)


def _floor(values: np.ndarray, score: Score) -> float:
    """Return where the axis ends below: 0 for an error, `FLOOR` for an R² below it; else NaN, for matplotlib to say."""
    if score == "mae":
        return 0.0
    return FLOOR if score == "r2" and (values < FLOOR).any() else float("nan")


def _bars(
    axis: Axes,
    places: np.ndarray,
    rows: pd.DataFrame,
    score: Score,
    *,
    floor: float,
    width: float,
    colour: str,
    label: str,
) -> None:
    """Draw the bars and whiskers of a feature set; what lies below the floor is cut, and marked by its value."""
    values = rows[score].to_numpy(dtype=float)
    low, high = (rows[f"{score}{end}"].to_numpy(dtype=float) for end in ("_low", "_high"))
    cut = values < floor
    axis.bar(places, np.where(cut, floor, values), width=0.9 * width, color=colour, linewidth=0, label=label, zorder=2)
    sure = np.isfinite(low) & np.isfinite(high) & ~(high < floor)
    bottom = np.maximum(low, floor) if np.isfinite(floor) else low
    axis.vlines(places[sure], bottom[sure], high[sure], color="black", linewidth=1, zorder=3)
    if not cut.any():
        return
    box = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "pad": 0.6}
    for place, value in zip(places[cut], values[cut], strict=True):
        axis.annotate(
            f"{value:.1f}".replace("-", "−"), (place, floor), (0, 6), textcoords="offset points", rotation=90,
            ha="center", va="bottom", fontsize="x-small", zorder=4, bbox=box,
        )  # fmt: skip
    axis.scatter(places[cut], np.full(cut.sum(), floor), marker="v", s=22, color=colour, clip_on=False, zorder=4)


def _label_bars(axis: Axes, rows: pd.DataFrame, order: list[str], first: str, *, flat: bool) -> None:
    """Name the groups and their cells: flat where the longest name fits, else aslant."""
    counts = rows.loc[first, "n_cells"]
    gap = "\n" if flat else " "
    labels = [f"{name}{gap}({int(counts[name]):,})" for name in order]
    label_groups(axis, labels, flat=flat)
    axis.set_xlabel("group (cells)")
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, len(order) - 0.4)
    if order[0] == "all" and len(order) > 1:
        axis.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":", zorder=1)


def _split_words(splits: pd.Series, everyone: pd.Series) -> str:
    """Say what was held out where a feature set differs in that from others."""
    kinds = splits.dropna().astype(str).unique()
    if everyone.astype(str).nunique() == 1 or not len(kinds) or kinds[0] == "sample":
        return ""
    return f"\n(split by {kinds[0]})"


def _score_label(score: Score, rows: pd.DataFrame, age_key: str) -> str:
    if score == "mae":
        return f"mean absolute error ({age_key})"
    return f"R² of {rows['target'].iloc[0]}" if score == "r2" else "Spearman correlation with age"


def _split_title(rows: pd.DataFrame) -> str:
    """Say what was held out."""
    kinds = {str(kind) for kind in rows["split"]}
    up_to = "" if rows["n_samples"].nunique() == 1 else "up to "
    said = {
        "sample": f"{up_to}{int(rows['n_samples'].max())} samples, whole samples held out",
        "cell": "cells held out, but not their samples",
        "external": "saved clock",
    }
    return next((words for kind, words in said.items() if kind in kinds), "cells held out at random, 7:3")
