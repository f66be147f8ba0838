"""Means and intervals along a state are those of an analysis of variance, or of each state's cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from scipy import stats

from scflyformer.pl._expression_trend import TrendCells, draw_trend, numeric_states, trend

RNG = np.random.default_rng(0)
STATES = np.repeat([0.0, 5.0, 30.0], [40, 20, 30])
SAMPLES = np.array([f"s{state:g}_{n % count}" for state, count in ((0, 4), (5, 2), (30, 3)) for n in range(10 * count)])
VALUES = RNG.normal(1 + STATES / 30, 0.3) + np.array([int(name[-1]) for name in SAMPLES]) / 10


def test_cells_have_an_interval_of_their_own() -> None:
    line, dots = trend(VALUES, STATES, None)
    assert len(dots) == 0 and line["n"].tolist() == [40, 20, 30]
    for _, row in line.iterrows():
        own = VALUES[row["state"] == STATES]
        low, high = stats.t.interval(0.95, len(own) - 1, loc=own.mean(), scale=stats.sem(own))
        assert row[["mean", "low", "high"]].tolist() == pytest.approx([own.mean(), low, high])


def test_samples_share_a_standard_deviation() -> None:
    """Against least squares on indicators of the states."""
    line, dots = trend(VALUES, STATES, SAMPLES)
    assert dots["state"].tolist() == [0] * 4 + [5] * 2 + [30] * 3 and line["n"].tolist() == [4, 2, 3]
    design = (dots["state"].to_numpy()[:, None] == np.array([0, 5, 30])).astype(float)
    means, rest, *_ = np.linalg.lstsq(design, dots["mean"].to_numpy(), rcond=None)
    error = np.sqrt(rest[0] / 6 * np.diag(np.linalg.inv(design.T @ design)))
    half = stats.t.ppf(0.975, 6) * error
    np.testing.assert_allclose(line[["mean", "low", "high"]], np.column_stack([means, means - half, means + half]))


def test_samples_that_span_states_and_single_ones() -> None:
    """A sample has a mean at each of its states; no interval where no state has two samples."""
    line, dots = trend(np.array([1.0, 3, 5, 7]), np.array([0.0, 0, 1, 1]), np.array(["a", "a", "a", "a"]))
    assert dots["mean"].tolist() == [2, 6] and line["mean"].tolist() == [2, 6]
    assert line[["low", "high"]].isna().all(axis=None)


def test_numbers() -> None:
    column = pd.Series(pd.Categorical(["5", "30", None, "5"]))
    np.testing.assert_array_equal(numeric_states(column, "age"), [5, 30, np.nan, 5])
    with pytest.raises(ValueError, match=r"needs numbers, but obs\['age'\] holds '5d', 'old'\. Name a column"):
        numeric_states(pd.Series(["5d", "30", "old"]), "age")


def test_a_wide_band_does_not_flatten_the_rest() -> None:
    """The axis follows the means; a line without cells is left out; more lines than colours differ in style."""
    _, axis = plt.subplots()
    lines = [f"line{n}" for n in range(9)]
    names = np.array(lines, dtype=object)[np.arange(90) % 8]
    samples = np.array([f"s{n}" for n in np.arange(90) // 2], dtype=object)
    draw_trend(axis, VALUES, TrendCells(STATES, samples, names), lines)
    assert len(axis.lines) == 8 and len({(line.get_color(), line.get_linestyle()) for line in axis.lines}) == 8
    top = max(dot.get_offsets()[:, 1].max() for dot in axis.collections if len(dot.get_offsets()) > 1)
    assert axis.get_ylim() == (0, pytest.approx(1.25 * top))
    empty = plt.subplots()[1]
    draw_trend(empty, 0 * VALUES, TrendCells(STATES, None, np.full(90, "all", dtype=object)), ["all"])
    assert empty.get_ylim() == (0, 1)
