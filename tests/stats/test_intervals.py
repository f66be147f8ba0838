"""Intervals against SciPy, NumPy and plain resampling."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.stats._intervals import bootstrap_counts, percentile_interval, t_interval, unit_codes, unit_sums


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_students_interval(level: float) -> None:
    values = np.random.default_rng(0).normal(3, 2, 7)
    assert t_interval(values, level) == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval(level))
    assert np.isnan([*t_interval(values[:1]), *t_interval(values[:0])]).all()


def test_percentiles_of_the_draws_that_have_a_score() -> None:
    """Resamples without a score are left out, as long as they are not the larger part."""
    draws = np.random.default_rng(0).normal(size=99)
    assert percentile_interval(draws, 0.9) == pytest.approx(np.quantile(draws, [0.05, 0.95]))
    some = np.where(np.arange(99) < 49, np.nan, draws)
    assert percentile_interval(some) == pytest.approx(np.quantile(draws[49:], [0.025, 0.975]))
    assert np.isnan(percentile_interval(np.where(np.arange(99) < 50, np.nan, draws))).all()
    assert np.isnan(percentile_interval(np.empty(0))).all()


def test_resamples_have_the_spread_of_a_bootstrap() -> None:
    """The mean over resampled units varies by the units' standard deviation over the root of their number."""
    values = np.random.default_rng(0).normal(size=12)
    counts = np.concatenate(list(bootstrap_counts(12, n_boot=4000, seed=0)))
    assert counts.shape == (4000, 12) and (counts.sum(axis=1) == 12).all()
    means = counts @ values / 12
    assert means.mean() == pytest.approx(values.mean(), abs=0.02)
    assert means.std() == pytest.approx(values.std() / np.sqrt(12), rel=0.05)
    again = np.concatenate(list(bootstrap_counts(12, n_boot=4000, seed=0)))
    np.testing.assert_array_equal(counts, again)


def test_sums_over_units() -> None:
    random = np.random.default_rng(0)
    units, first, second = random.choice(["b", "a", "c"], 40), random.normal(size=40), random.normal(size=40)
    codes, n_units = unit_codes(units, 40)
    table = pd.DataFrame({"first": first, "second": second}).groupby(units).sum()
    np.testing.assert_allclose(unit_sums(codes, n_units, first, second), table)
    codes, n_units = unit_codes(None, 40)
    np.testing.assert_allclose(unit_sums(codes, n_units, first)[:, 0], first)  # each cell by itself
