"""Names beside points, set where they cover neither one another nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

#: Distances between a point and its name, in points, and the directions that are tried at each.
_AWAY = (4, 9, 16, 26, 38, 52, 68, 86, 106)
_ANGLES = np.deg2rad([0, 180, *(side for up in range(15, 90, 15) for side in (up, 180 - up, -up, 180 + up)), 90, -90])
#: From this distance on a line leads from the point to its name.
_LEADER = 12
#: What a place costs, in points of distance: over another name, out of the axis, its line over a name, over a spot.
_OVER, _OUTSIDE, _CROSSED, _COVERED = 1000.0, 500.0, 40.0, 12.0
#: Spots of a leading line, as shares of its length.
_ALONG = np.linspace(0.05, 0.9, 9)


def label_points(
    axis: Axes,
    at: np.ndarray,
    names: Sequence[str],
    *,
    points: np.ndarray,
    taken: Sequence[Artist] = (),
) -> None:
    """Write names beside points, each at the free place nearest to its point.

    Parameters
    ----------
    axis
        Where the points are; its limits must be final.
    at
        The points that get names, in the order of precedence, shape (n_names, 2).
    names
        Their names.
    points
        What names avoid to cover: all points, and points along lines; shape (n_points, 2).
    taken
        Texts and legends of the axis that names keep off.
    """
    figure = axis.get_figure(root=True)
    if figure is None or not len(names):
        return
    figure.draw_without_rendering()
    pixels = figure.dpi / 72
    frame = np.array(axis.get_window_extent().extents)
    spots = axis.transData.transform(np.asarray(points, dtype=float))
    boxes = [np.array(text.get_window_extent().extents) for text in taken]
    for point, name in zip(np.asarray(at, dtype=float), names, strict=True):
        text = axis.annotate(
            name, point, (0, 0), textcoords="offset points", fontsize="small", ha="center", va="center"
        )
        extent, anchor = text.get_window_extent(), axis.transData.transform(point)
        text.remove()
        half = np.array([extent.width, extent.height]) / 2
        shifts, away = _places(half, pixels)
        candidates = np.hstack([anchor + shifts - half, anchor + shifts + half])
        leaders = anchor + shifts[:, None] * _ALONG[:, None]
        cost = away + _OUTSIDE * _outside(candidates, frame) + _COVERED * _inside(spots, candidates)
        if boxes:
            others = np.stack(boxes)
            crossed = np.stack([_inside(leader, others) > 0 for leader in leaders]).sum(1)
            cost += _OVER * _overlaps(candidates, others) + _CROSSED * crossed * (away >= _LEADER)
        best = int(np.argmin(cost))
        boxes.append(candidates[best])
        line = None
        if away[best] >= _LEADER:
            line = {"arrowstyle": "-", "linewidth": 0.6, "color": "black", "shrinkA": 0, "shrinkB": 2}
            spots = np.vstack([spots, leaders[best]])
        axis.annotate(
            name, point, shifts[best] / pixels, textcoords="offset points", fontsize="small", ha="center", va="center",
            zorder=6, arrowprops=line,
        )  # fmt: skip


def _places(half: np.ndarray, pixels: float) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets of a name's centre from its point, pixels, shape (n_places, 2), and their distances, points."""
    away = np.repeat(_AWAY, len(_ANGLES)).astype(float)
    angles = np.tile(_ANGLES, len(_AWAY))
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    return directions * (away[:, None] * pixels) + np.clip(1.5 * directions, -1, 1) * half, away


def _overlaps(candidates: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how many boxes (left, bottom, right, top) each candidate overlaps."""
    low = np.maximum(candidates[:, None, :2], boxes[None, :, :2])
    high = np.minimum(candidates[:, None, 2:], boxes[None, :, 2:])
    return (high > low).all(-1).sum(1)


def _outside(candidates: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return whether each candidate leaves the frame."""
    return np.any((candidates[:, :2] < frame[:2]) | (candidates[:, 2:] > frame[2:]), axis=1)


def _inside(spots: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return how many spots lie in each box."""
    over = (spots[None] >= boxes[:, None, :2]) & (spots[None] <= boxes[:, None, 2:])
    return over.all(-1).sum(1)
