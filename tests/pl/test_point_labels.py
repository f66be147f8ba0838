"""Names are set apart from one another, from points and from lines, near their points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from scflyformer.pl._point_labels import _LEADER, _inside, _overlaps, label_points

BOXES = np.array([[0, 0, 2, 1], [1, 0.5, 3, 2], [2, 0, 4, 1]], dtype=float)


def test_overlaps_and_spots() -> None:
    """Boxes that touch do not overlap; a spot on the edge lies within."""
    assert _overlaps(BOXES, BOXES).tolist() == [2, 3, 2]
    assert _inside(np.array([[0, 0], [1.5, 0.75], [9, 9]]), BOXES).tolist() == [2, 1, 0]


def test_a_lone_point_has_its_name_beside_it() -> None:
    _, axis = plt.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    label_points(axis, np.array([[0.5, 0.5]]), ["fz2"], points=np.array([[0.5, 0.5]]))
    (text,) = axis.texts
    assert text.get_text() == "fz2" and text.xy == pytest.approx((0.5, 0.5)) and text.arrow_patch is None
    x, y = text.get_position()
    assert 0 < x < 40 and y == 0


def test_points_in_one_place() -> None:
    """Names of a crowd stand apart; those that stand far have a line; an existing text is kept clear."""
    _, axis = plt.subplots()
    axis.set(xlim=(-1, 1), ylim=(-1, 1))
    crowd = np.random.default_rng(0).normal(0, 0.01, (12, 2))
    taken = axis.text(0.05, 0.0, "in the way", va="center")
    label_points(axis, crowd, [f"gene{n}" for n in range(12)], points=crowd, taken=[taken])
    axis.figure.canvas.draw()
    names = axis.texts[1:]
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert len(names) == 12
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    far = [np.hypot(*text.get_position()) > _LEADER + 60 for text in names]
    assert all(text.arrow_patch is not None for text, is_far in zip(names, far, strict=True) if is_far)
    assert any(text.arrow_patch is not None for text in names)


def test_a_line_is_not_written_over() -> None:
    _, axis = plt.subplots()
    axis.set(xlim=(0, 1), ylim=(0, 1))
    line = np.column_stack([np.linspace(0, 1, 200), np.full(200, 0.5)])
    label_points(axis, np.array([[0.5, 0.5]]), ["fz2"], points=line)
    axis.figure.canvas.draw()
    box, level = Text.get_window_extent(axis.texts[0]), axis.transData.transform((0, 0.5))[1]
    assert box.y0 > level or box.y1 < level


def test_nothing_to_name() -> None:
    _, axis = plt.subplots()
    label_points(axis, np.empty((0, 2)), [], points=np.empty((0, 2)))
    assert len(axis.texts) == 0
