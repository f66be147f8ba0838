"""Prediction intervals weigh every sample alike and hold the share of a new sample's cells that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.clock._conformal import coverage, interval_radius

RESIDUALS = np.array([1.0, -2, 0.5, -1.5, 2.5, 10, 4])
UNITS = np.array(["a", "a", "b", "b", "b", "b", "c"])
"""Each cell of a counts 1/6, each of b 1/12, that of c 1/3."""


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.2, 1.5),  # raised to 4/15: 0.5, 1 and 1.5 add up to 1/12 + 1/6 + 1/12 = 1/3
        (0.375, 2.0),  # raised to 1/2, which 2 reaches exactly
        (0.4, 2.5),
        (0.5, 4.0),
        (0.75, 10.0),  # raised to 1
        (0.9, 10.0),  # would be raised above 1: the largest residual
    ],
)
def test_by_hand(level: float, expected: float) -> None:
    assert interval_radius(RESIDUALS, UNITS, level) == expected
    order = np.random.default_rng(0).permutation(7)
    assert interval_radius(-RESIDUALS[order], UNITS[order], level) == expected
    often = np.repeat(np.arange(7), np.where(UNITS == "b", 30, 1))  # a sample with more cells of the same kind
    assert interval_radius(RESIDUALS[often], UNITS[often], level) == expected


@pytest.mark.parametrize(("n", "level", "rank"), [(19, 0.9, 18), (10, 0.9, 10), (99, 0.95, 95), (4, 0.9, 4)])
def test_of_single_cells_it_is_split_conformal(n: int, level: float, rank: int) -> None:
    """The smallest of rank ⌈level · (n + 1)⌉, or the largest there is."""
    residuals = np.random.default_rng(n).normal(size=n)
    assert interval_radius(residuals, np.arange(n), level) == np.sort(np.abs(residuals))[rank - 1]


def test_a_new_sample_is_covered_where_large_ones_are_quiet() -> None:
    """Large samples with small errors would set the interval too tight, if cells were pooled."""
    rng = np.random.default_rng(0)
    held, pooled = [], []

    def unit() -> np.ndarray:
        if rng.random() < 0.5:
            return rng.normal(rng.normal(0, 0.2), 0.2, 200)
        return rng.normal(rng.normal(0, 2), 1, 10)

    for _ in range(400):
        drawn = [unit() for _ in range(20)]
        residuals, new = np.concatenate(drawn), np.abs(unit())
        units = np.repeat(np.arange(20), [len(one) for one in drawn])
        held.append((new <= interval_radius(residuals, units, 0.8)).mean())
        pooled.append((new <= np.quantile(np.abs(residuals), 0.8)).mean())
    assert np.mean(held) == pytest.approx(0.81, abs=0.03)
    assert np.mean(pooled) < 0.7


def test_coverage_is_the_mean_over_units_and_that_of_the_worst() -> None:
    inside = np.array([True, False, True, True, True, False, True])
    assert coverage(inside, UNITS) == pytest.approx(((0.5 + 0.75 + 1) / 3, 0.5))
    assert coverage(inside, np.arange(7)) == pytest.approx((5 / 7, 0))
