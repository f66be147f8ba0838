"""Predicted against true ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._adata import obs_text, open_data
from scflyformer.data._matrix import missing_key
from scflyformer.get._clock_df import clock_df

from ._figure import COLOURS, GREY, as_names, dot_mark, drop_spines, explain, finish, open_panels

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

FEATURE_SETS, ARTICLE = ("embedding", "expression", "embedding+expression"), "article"
#: Share of the distance between neighbouring ages over which cells of one age are spread.
_JITTER = 0.5
#: What is drawn where it is there.
_SAMPLE, _INTERVAL = "mean of a sample", "prediction interval"
#: Inches of a panel.
_SIZE = (3.3, 3.9)


def age_clock(
    adata: AnnData | MuData,
    *,
    key: str = "age_clock",
    features: str | Sequence[str] | None = None,
    group: str = "all",
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw the age that held-out cells were predicted to have against their age, a panel for each feature set.

    Small dots are cells, spread sideways within their age; large dots are the means of samples (libraries, animals),
    which are what a clock that carries over to new samples must get right; on the line a prediction equals the age.
    Titles have the scores of :func:`scflyformer.tl.age_clock` with their 95 % intervals. A clock fitted to log ages is
    drawn on a log scale. The feature set whose prediction intervals are in `obs` has a pale box at each age, from the
    median lower to the median upper end of its cells' intervals; the title has the share of cells inside theirs.

    Parameters
    ----------
    adata
        Cells with predicted ages.
    key
        The `key_added` of the call.
    features
        Feature sets to draw: `"embedding"`, `"expression"`, `"embedding+expression"`, the controls `"random"`,
        `"depth"` and `"mean"`, or `"article"`, the published recipe, whose cells were split at random. By default the
        first three.
    group
        Group whose clock is drawn; `"all"` is the one of all cells.
    mod
        Modality of a MuData.
    ax
        Axis to draw on, for one feature set; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis (an array of them for several feature sets); the figure with `return_fig`; nothing where the figure was
    shown.

    Raises
    ------
    KeyError
        When there is no such clock, group or feature set, it has no predictions, or a saved clock was applied to cells
        without ages.
    ValueError
        When no feature set is asked for, or one axis was given for several of them.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.age_clock(
    ...     adata,
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines=["expression"],
    ... )
    >>> axes = sf.pl.age_clock(
    ...     adata, features=["embedding", "expression"], show=False
    ... )
    >>> len(axes)
    2

    To a file:

    >>> figure = sf.pl.age_clock(adata, features="embedding", return_fig=True)
    >>> figure.savefig("age_clock.pdf", bbox_inches="tight")
    """
    results = clock_df(adata, key=key, mod=mod)
    predictions = clock_df(adata, key=key, table="predictions", mod=mod)
    groups = list(dict.fromkeys(results["group"].astype(str)))
    if group not in groups:
        raise KeyError(missing_key(group, groups, what="group", place=f"uns[{key!r}]['results']"))
    results = results[results["group"].astype(str) == group].set_index("features")
    names = chosen_features(features, list(results.index), key)
    data = open_data(adata, mod=mod)
    params = data.uns[key]["params"]
    predictions = predictions[(predictions["group"].astype(str) == group) & predictions["predicted"].notna()]
    for name in names:
        if not (predictions["features"] == name).any():
            raise KeyError(
                f"uns[{key!r}]['predictions'] holds none of {name!r} for group {group!r}; draw other features."
            )
    axes = open_panels(ax, len(names), size=_SIZE)
    for number, (axis, name) in enumerate(zip(axes, names, strict=True)):
        cells = predictions[predictions["features"] == name]
        log = str(results.loc[name, "target"]).startswith("log")
        colour = COLOURS[number % len(COLOURS)]
        _draw_cells(axis, cells, colour=colour, log=log)
        if name == params["features"]:
            _boxes(axis, _intervals(data, key, group, params), colour=colour, log=log)
        axis.set_title(_scores_title(name, results.loc[name], params.get("level")), fontsize="small")
        axis.set_xlabel(f"{params['age_key']}")
        axis.set_ylabel(f"predicted {params['age_key']}" if number == 0 else "")
    _same_limits(axes)
    explain(axes, _age_marks(axes, params, brackets=ax is None), own=ax is None)
    return finish(axes, ax=ax, show=show, return_fig=return_fig)


def chosen_features(asked: str | Sequence[str] | None, known: list[str], key: str) -> list[str]:
    """Return the feature sets to draw."""
    if asked is None:
        return [name for name in FEATURE_SETS if name in known] or [name for name in known if name != ARTICLE] or known
    names = as_names(asked)
    if not names:
        raise ValueError(f"features is empty; give one or more of {known}.")
    for name in names:
        if name not in known:
            raise KeyError(missing_key(name, known, what="features", place=f"uns[{key!r}]['results']"))
    return names


def _scores_title(name: str, row: pd.Series, level: float | None) -> str:
    """Put the scores in words; intervals where there are any."""

    def score(column: str, digits: int) -> str:
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        value, low, high = (f"{number + 0.0:.{digits}f}" for number in np.round([row[column], low, high], digits))
        return f"{value} ({low} to {high})" if "nan" not in (low, high) else value

    n_cells = f"{int(row['n_cells']):,} cells"
    split = {
        "sample": f"{n_cells}, {int(row['n_samples'])} samples held out",
        "cell": f"{n_cells} held out, but not their samples",
        "external": f"{n_cells}, saved clock",
    }
    inside = row.get("coverage", np.nan)
    interval = "intervals" if level is None else f"{level * 100:.3g} % intervals"
    covers = f"\n{interval} hold {inside * 100:.0f} % of cells" if np.isfinite(inside) else ""
    held_out = split.get(str(row["split"]), f"{n_cells} held out at random, split by {row['split']}")
    return f"{name}\nR² {score('r2', 2)}\nMAE {score('mae', 1)}\n{held_out}{covers}"


def _draw_cells(axis: Axes, cells: pd.DataFrame, *, colour: str, log: bool) -> None:
    ages = cells["age"].to_numpy(dtype=float)
    predicted = cells["predicted"].to_numpy(dtype=float)
    if log:
        for scale in (axis.set_xscale, axis.set_yscale):
            scale("function", functions=(_to_log, _from_log))
    distinct = np.unique(ages)
    x = _spread(ages, distinct, log)
    size = float(np.clip(6000 / max(len(cells), 1), 1, 12))
    axis.scatter(x, predicted, s=size, color=colour, alpha=0.35, linewidths=0, rasterized=len(cells) > 5000)
    ends = [distinct[0], distinct[-1]]
    axis.plot(ends, ends, color=GREY, linewidth=1, linestyle="--", zorder=2)
    if (cells["sample"].astype(str) != "").any():
        on_scale = _to_log(predicted) if log else predicted
        means = pd.DataFrame({"age": ages, "on_scale": on_scale}).groupby(cells["sample"].astype(str).to_numpy()).mean()
        height = _from_log(means["on_scale"].to_numpy()) if log else means["on_scale"].to_numpy()
        axis.scatter(
            means["age"], height, s=42, color=colour, edgecolors="black", linewidths=0.8, zorder=3, label=_SAMPLE
        )
    if log:
        axis.set_xticks(distinct, [f"{age:g}" for age in distinct])
        axis.set_yticks(distinct, [f"{age:g}" for age in distinct])
        axis.minorticks_off()
    drop_spines(axis)


def _intervals(data: AnnData, key: str, group: str, params: Mapping[str, Any]) -> pd.DataFrame:
    """Return the median ends of the prediction intervals at each age; no rows where `obs` has none of this clock."""
    obs, ends = data.obs, [f"{key}_low", f"{key}_high"]
    groupby, age_key = str(params.get("groupby", "none")), params["age_key"]
    mask = np.full(len(obs), (group == "all") == (groupby == "none"))
    if not mask.any() or not {*ends, age_key} <= set(obs) or (groupby != "none" and groupby not in obs):
        return pd.DataFrame(columns=ends, dtype=float)
    if groupby != "none":
        mask = obs_text(data, groupby, what="groupby") == group
    ages = pd.to_numeric(obs.loc[mask, age_key].astype(object), errors="coerce").astype(float)
    return obs.loc[mask, ends].groupby(ages.to_numpy()).median().dropna()


def _boxes(axis: Axes, ends: pd.DataFrame, *, colour: str, log: bool) -> None:
    """Draw a pale box behind the cells of each age, with a line at either end."""
    if not len(ends):
        return
    ages = ends.index.to_numpy(dtype=float)
    place = _to_log(ages) if log else ages
    half = _JITTER / 2 * (float(np.diff(place).min()) if len(place) > 1 else 1.0)
    left, right = (_from_log(place + side) if log else place + side for side in (-half, half))
    for x0, x1, (low, high) in zip(left, right, ends.to_numpy(), strict=True):
        axis.fill_between([x0, x1], low, high, color=colour, alpha=0.12, linewidth=0, zorder=0.5)
    for end, label in zip(ends.to_numpy().T, (_INTERVAL, "_high"), strict=True):
        axis.hlines(end, left, right, color="black", linewidth=0.8, zorder=2.5, label=label)


def _age_marks(axes: np.ndarray, params: Mapping[str, Any], *, brackets: bool) -> list[Artist]:
    """Return handles of dots, line and intervals, and with `brackets` a word on those in the titles."""
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = COLOURS[0] if len(axes) == 1 else GREY
    drawn = {label for axis in axes for label in axis.get_legend_handles_labels()[1]}
    marks: list[Artist] = [dot_mark("cell", colour, size=2.5)]
    if _SAMPLE in drawn:
        marks.append(dot_mark(_SAMPLE, colour, size=6, markeredgecolor="black"))
    marks.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label=f"predicted = true {params['age_key']}"))
    if _INTERVAL in drawn:
        share = "" if params.get("level") is None else f"{params['level'] * 100:.3g} % "
        box: dict[str, Any] = {"facecolor": to_rgba(colour, 0.2), "edgecolor": "black", "linewidth": 0.8}
        marks.append(Patch(label=f"{share}{_INTERVAL} (median cell)", **box))
    if brackets and any("(" in axis.get_title() for axis in axes):
        marks.append(Line2D([], [], linestyle="", label="in brackets: 95 % intervals over samples"))
    return marks


def _to_log(ages: np.ndarray) -> np.ndarray:
    """Return log2(age + 1); below -1, which no clock on that scale predicts, the scale ends."""
    return np.log2(np.maximum(np.asarray(ages, dtype=float), -0.99) + 1)


def _from_log(values: np.ndarray) -> np.ndarray:
    return np.exp2(np.asarray(values, dtype=float)) - 1


def _spread(ages: np.ndarray, distinct: np.ndarray, log: bool) -> np.ndarray:
    """Move cells sideways, evenly and in the order given, by a part of the least distance between ages."""
    place = _to_log(ages) if log else ages
    steps = np.diff(_to_log(distinct) if log else distinct)
    room = _JITTER * float(steps.min()) if len(steps) else _JITTER
    offset = room * (np.random.default_rng(0).random(len(ages)) - 0.5)
    return _from_log(place + offset) if log else place + offset


def _same_limits(axes: np.ndarray) -> None:
    """Give the panels one vertical range."""
    low = min(axis.get_ylim()[0] for axis in axes)
    high = max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)
