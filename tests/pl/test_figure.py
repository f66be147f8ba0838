"""Plots draw on the caller's axis where there is one, and hand back what was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

from scflyformer.pl._figure import finish, open_axes, open_panels


def test_the_callers_axis_is_used():
    figure, ax = plt.subplots()
    assert open_axes(ax, size=(1, 1)) is ax
    assert open_panels(ax, 1, size=(1, 1)).tolist() == [ax]
    assert finish(ax, ax=ax, show=None, return_fig=False) is ax
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
