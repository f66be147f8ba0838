"""Intervals weigh every sample alike, and hold the share of an average new sample's cells that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.clock._conformal import HalfWidth, coverage, half_width, reason_for_none, weighted_quantile

DISTANCES = np.array([1.0, 2, 0.5, 1.5, 2.5, 10, 4])
UNITS = np.array(["a", "a", "b", "b", "b", "b", "c"])
WEIGHT = np.array([6, 6, 3, 3, 3, 3, 12]) / 12
"""Each cell of a counts 1/6 of all, each of b 1/12, that of c 1/3."""


@pytest.mark.parametrize(("level", "expected"), [(4 / 15, 1.5), (0.5, 2.0), (0.51, 2.5), (2 / 3, 4.0), (1.0, 10.0)])
def test_a_quantile_by_hand(level: float, expected: float) -> None:
    assert weighted_quantile(DISTANCES, WEIGHT, level) == expected
    order = np.random.default_rng(0).permutation(7)
    assert weighted_quantile(DISTANCES[order], WEIGHT[order], level) == expected


def test_a_sample_with_more_cells_of_the_same_kind_counts_once() -> None:
    rng = np.random.default_rng(0)
    units, predicted, residuals = np.repeat(np.arange(12), 5), rng.normal(size=60), rng.normal(size=60)
    often = np.repeat(np.arange(60), np.where(units == 3, 40, 1))
    first, second = (half_width(predicted[at], residuals[at], units[at], 0.8) for at in (np.arange(60), often))
    assert second(predicted) == pytest.approx(first(predicted))
    alone = half_width(predicted[often], residuals[often], np.arange(len(often)), 0.8)
    assert np.abs(alone(predicted) / first(predicted) - 1).max() > 0.1  # what would be if cells weighed alike


def test_the_width_follows_the_prediction() -> None:
    """Errors four times as large in the old than in the young: intervals of both hold their share, not one of all."""
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(60), 20)
    predicted = rng.uniform(0, 10, len(units))
    residuals = rng.normal(0, np.where(predicted < 5, 0.5, 2.0))
    width = half_width(predicted, residuals, units, 0.9)
    assert width(np.array([8.0]))[0] > 2.5 * width(np.array([2.0]))[0]
    new = rng.uniform(0, 10, 20_000)
    error = np.abs(rng.normal(0, np.where(new < 5, 0.5, 2.0)))
    inside = error <= width(new)
    for side in ((new > 0.5) & (new < 4), new > 6):
        assert inside[side].mean() == pytest.approx(0.9, abs=0.06)
    assert width(np.array([-5.0, 50])).tolist() == width.half[[0, -1]].tolist()  # constant beyond what was seen
    plain = np.quantile(np.abs(residuals), 0.9)
    assert (error <= plain)[new < 4].mean() > 0.98


def test_a_new_sample_is_covered_where_large_ones_are_quiet() -> None:
    """Large samples with small errors would set the interval too tight, if cells were pooled."""
    rng = np.random.default_rng(0)
    held, pooled = [], []

    def unit() -> tuple[np.ndarray, np.ndarray]:
        at = rng.uniform(0, 5)
        if rng.random() < 0.5:
            return rng.normal(at, 1, 200), rng.normal(rng.normal(0, 0.2), 0.2, 200)
        return rng.normal(at, 1, 10), rng.normal(rng.normal(0, 2), 1, 10)

    for _ in range(300):
        drawn = [unit() for _ in range(20)]
        predicted, residuals = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        units = np.repeat(np.arange(20), [len(one) for one, _ in drawn])
        at, error = unit()
        held.append((np.abs(error) <= half_width(predicted, residuals, units, 0.8)(at)).mean())
        pooled.append((np.abs(error) <= np.quantile(np.abs(residuals), 0.8)).mean())
    assert np.mean(held) == pytest.approx(0.82, abs=0.05)
    assert np.mean(pooled) < 0.7


@pytest.mark.parametrize(
    ("n", "level", "none"), [(9, 0.5, True), (10, 0.9, False), (18, 0.95, True), (19, 0.95, False)]
)
def test_too_few_samples_have_no_interval(n: int, level: float, none: bool) -> None:
    """Below ten, and where no rank among so many errors can hold the level."""
    assert bool(reason_for_none(n, level)) is none
    assert np.isnan(HalfWidth.none()(np.array([0.0, 3]))).all()


def test_equal_predictions_have_one_width() -> None:
    rng = np.random.default_rng(0)
    width = half_width(np.full(100, 3.0), rng.normal(size=100), np.repeat(np.arange(20), 5), 0.9)
    assert np.ptp(width(np.array([0.0, 3, 9]))) == 0 and 1.3 < width.half[0] < 2.6


def test_coverage_is_the_mean_over_units_and_that_of_the_worst() -> None:
    inside = np.array([True, False, True, True, True, False, True])
    assert coverage(inside, UNITS) == pytest.approx(((0.5 + 0.75 + 1) / 3, 0.5))
    assert coverage(inside, np.arange(7)) == pytest.approx((5 / 7, 0))
