"""Mean expression along a numeric state, such as age, with its interval over samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scflyformer.stats._intervals import t_interval

from ._figure import COLOURS, GREY, dot_mark

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

#: Styles of lines beyond the number of colours.
_STYLES = ("-", "--", ":")
#: How far the axis reaches beyond the highest mean, so that a wide band does not flatten the rest.
_HEADROOM = 1.25


class TrendCells(NamedTuple):
    """Cells to draw, shape (n_cells,) each.

    Attributes
    ----------
    states
        The numeric state, float64; NaN for a cell that is left out.
    samples
        Sample as text, object; `None` in place of the array where there are no samples.
    lines
        Line of the cell as text, object.
    """

    states: np.ndarray
    samples: np.ndarray | None
    lines: np.ndarray


def numeric_states(column: pd.Series, key: str) -> np.ndarray:
    """Return a column as numbers, float64, NaN where it is missing."""
    values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = column[column.notna().to_numpy() & ~np.isfinite(values)].astype(str).unique()
    if len(wrong):
        raise ValueError(
            f"kind='trend' needs numbers, but obs[{key!r}] holds {', '.join(map(repr, wrong[:3]))}. Name a column of "
            "numbers by groupby=, or draw kind='violin'."
        )
    return values


def trend(values: np.ndarray, states: np.ndarray, samples: np.ndarray | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean at each state with its 95 % t interval, and the means of samples.

    The first table has a row for each state, ascending, with `state`, `mean`, `low`, `high`, `n` (samples, or cells
    without them), the second a row for each sample at each state with `state`, `mean` (none without samples).

    With samples, `mean` is that over sample means, and their standard deviation is pooled over states, whose residuals
    together tell it better than the two or three samples of one; without, it is that over cells, and each state has
    its own. NaN where nothing was seen twice.
    """
    cells = pd.DataFrame({"state": states, "mean": np.asarray(values, dtype=np.float64)})
    if samples is None:
        by_state = cells.groupby("state")["mean"]
        rows = [(state, some.mean(), *t_interval(some.to_numpy()), len(some)) for state, some in by_state]
        return pd.DataFrame(rows, columns=["state", "mean", "low", "high", "n"]), cells.iloc[:0]
    dots = cells.assign(sample=samples).groupby(["state", "sample"], as_index=False)["mean"].mean()
    line = dots.groupby("state")["mean"].agg(["mean", "size"]).reset_index().rename(columns={"size": "n"})
    residuals = dots["mean"] - dots.groupby("state")["mean"].transform("mean")
    half = _pooled_half_width(residuals.to_numpy(), line["n"].to_numpy())
    return line.assign(low=line["mean"] - half, high=line["mean"] + half), dots[["state", "mean"]]


def draw_trend(axis: Axes, values: np.ndarray, cells: TrendCells, lines: list[str]) -> None:
    """Draw one gene: for each line the mean over states, the band of its interval and the dots of samples."""
    top = 0.0
    for number, name in enumerate(lines):
        inside = (cells.lines == name) & np.isfinite(cells.states)
        if not inside.any():
            continue
        samples = None if cells.samples is None else cells.samples[inside]
        line, dots = trend(values[inside], cells.states[inside], samples)
        colour, style = COLOURS[number % len(COLOURS)], _STYLES[number // len(COLOURS) % len(_STYLES)]
        at, low, high = (line[name].to_numpy() for name in ("state", "low", "high"))
        axis.fill_between(at, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
        axis.vlines(at, low, high, color=colour, alpha=0.35, linewidth=0.8, zorder=1)
        marker = "o" if cells.samples is None else None
        axis.plot(at, line["mean"], color=colour, linestyle=style, marker=marker, markersize=4, label=name, zorder=3)
        axis.scatter(dots["state"], dots["mean"], s=16, color=colour, edgecolors="white", linewidths=0.4, zorder=4)
        top = max(top, line["mean"].max(), dots["mean"].max() if len(dots) else 0.0)
    axis.set_ylim(0, _HEADROOM * top if top > 0 else 1.0)


def trend_marks(cells: TrendCells, lines: list[str]) -> list[Artist]:
    """Return handles of the line, the band and the dots; grey where there are several lines."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = COLOURS[0] if len(lines) == 1 else GREY
    band = Patch(facecolor=colour, alpha=0.25)
    if cells.samples is None:
        band.set_label("95 % interval over cells (too narrow)")
        return [Line2D([], [], marker="o", markersize=4, color=colour, label="mean of cells"), band]
    band.set_label("95 % interval over samples")
    return [dot_mark("mean of a sample", colour), Line2D([], [], color=colour, label="mean of samples"), band]


def _pooled_half_width(residuals: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return half the 95 % t interval of each state's mean, from the residuals of all; NaN without any to spare."""
    from scipy.stats import t

    spare = int((sizes - 1).sum())
    if spare < 1:
        return np.full(len(sizes), np.nan)
    spread = np.sqrt((residuals**2).sum() / spare)
    return t.ppf(0.975, spare) * spread / np.sqrt(sizes)
