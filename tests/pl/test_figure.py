"""Plots draw on the caller's axis where there is one, and hand back what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from scflyformer.pl._figure import dot_mark, explain, finish, label_groups, legend_beside, open_axes, open_panels


def test_the_callers_axis_is_used():
    figure, ax = plt.subplots()
    assert open_axes(ax, size=(1, 1)) is ax
    assert open_panels(ax, 1, size=(1, 1)).tolist() == [ax]
    assert finish(ax, ax=ax, show=None, return_fig=False) is ax
    assert finish(np.array([ax], dtype=object), ax=ax, show=None, return_fig=False) is ax
    assert finish(ax, ax=ax, show=None, return_fig=True) is figure
    with pytest.raises(ValueError, match="One axis was given for 3 panels"):
        open_panels(ax, 3, size=(1, 1))


def test_panels_fill_rows():
    panels = open_panels(None, 5, size=(2, 1), n_columns=3)
    assert panels.shape == (5,)
    figure = panels[0].figure
    assert len(figure.axes) == 5
    assert figure.get_size_inches().tolist() == [6, 2]


@pytest.fixture
def autoshow():
    """Set `scanpy.settings.autoshow` for one test."""
    import scanpy as sc

    before = sc.settings.autoshow
    yield lambda value: setattr(sc.settings, "autoshow", value)
    sc.settings.autoshow = before


def test_what_comes_back(monkeypatch, autoshow):
    shown = []
    monkeypatch.setattr("scflyformer.pl._figure._show", lambda: shown.append(True))
    autoshow(True)
    axis = open_axes(None, size=(1, 1))
    assert finish(axis, ax=None, show=None, return_fig=False) is None and len(shown) == 1
    assert finish(axis, ax=None, show=False, return_fig=False) is axis and len(shown) == 1
    assert finish(axis, ax=None, show=None, return_fig=True) is axis.figure and len(shown) == 1
    assert finish(axis, ax=axis, show=True, return_fig=False) is None and len(shown) == 2
    autoshow(False)
    assert finish(axis, ax=None, show=None, return_fig=False) is axis and len(shown) == 2
    several = np.array([axis], dtype=object)
    assert finish(several, ax=None, show=None, return_fig=True) is axis.figure


def test_no_screen_no_warning():
    axis = open_axes(None, size=(1, 1))
    assert finish(axis, ax=None, show=True, return_fig=False) is None


MARKS = [Line2D([], [], label=words) for words in ("the first mark", "the second mark", "a third")]


def test_words_stand_below_a_figure_of_ours():
    """It grows for them, and by as many lines as its width asks for."""
    for width, n_rows in ((8, 1), (2, 3)):
        panels = open_panels(None, 1, size=(width, 2))
        assert explain(panels, MARKS, own=True) is None
        figure = panels[0].figure
        figure.canvas.draw()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= panels[0].get_tightbbox().y0
        assert 0.1 * n_rows < figure.get_figheight() - 2 < 0.3 * n_rows
    assert explain(panels, [], own=True) is None and len(figure.legends) == 1


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_words_cover_nothing_on_the_callers_axis(scale):
    """The first of two panels has them; one too low goes without."""
    panels = plt.subplots(1, 2)[1]
    for axis in panels:
        axis.plot([0, 1], [100, 1])
        axis.set_yscale(scale)
    box = explain(panels[:1], MARKS, own=False).get_window_extent()
    assert panels[0].transData.transform((0, 100))[1] < box.y0 and panels[0].get_ylim()[0] == panels[1].get_ylim()[0]
    assert explain(panels[1:], MARKS, own=False) is None and panels[1].get_legend() is None
    low = plt.subplots(figsize=(4, 0.8))[1]
    assert explain(np.array([low]), MARKS, own=False) is None and low.get_legend() is None and low.get_ylim() == (0, 1)


@pytest.mark.parametrize("own", [True, False])
def test_a_legend_beside_the_panel_makes_a_figure_of_ours_wider(own):
    axis = open_axes(None, size=(3, 2))
    legend_beside(axis, own=own, handles=[dot_mark("a kind of cell", "black")])
    box = axis.get_legend().get_window_extent()
    width = axis.figure.get_figwidth()
    assert width == pytest.approx(3 + box.width / axis.figure.dpi) if own else width == 3


def test_labels_stand_level_or_aslant():
    axis = open_axes(None, size=(3, 2))
    for flat, angle in ((True, 0), (False, 45)):
        label_groups(axis, ["first", "second"], flat=flat)
        assert [text.get_text() for text in axis.get_xticklabels()] == ["first", "second"]
        assert {text.get_rotation() for text in axis.get_xticklabels()} == {angle}
