"""p-values and effects beside null genes, and intervals, follow their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scflyformer.perturbation._p_values import compare_with_nulls, null_effect, null_p_value
from scflyformer.stats._intervals import t_interval

floats = st.lists(st.floats(-1, 1, allow_nan=False, width=32), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1, 1, width=32), floats)
def test_p_value_follows_the_formula(observed: float, null: list[float]) -> None:
    """(1 + number at least as far from the median) / (1 + number)."""
    observed, null = round(observed, 4), [round(value, 4) for value in null]  # no two differ by rounding alone
    centre = float(np.median(null))
    count = sum(abs(value - centre) >= abs(observed - centre) - 1e-6 for value in null)
    assert null_p_value(observed, np.array(null)) == pytest.approx((1 + count) / (1 + len(null)))


def test_p_value_is_uniform_under_the_null() -> None:
    """A gene drawn from the same law as its null genes gets each p-value equally often."""
    rng = np.random.default_rng(0)
    p_values = [null_p_value(draw[0], draw[1:]) for draw in rng.normal(size=(2000, 100))]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_effect_and_missing_nulls() -> None:
    """Effect counts null standard deviations; without null genes there is nothing to say."""
    mean, effect = null_effect(5.0, np.array([1.0, 2.0, 3.0, np.nan]))
    assert (mean, effect) == pytest.approx((2.0, 3.0))
    assert np.isnan(null_p_value(1.0, np.array([]))) and np.isnan(null_effect(1.0, np.array([]))).all()
    assert np.isnan(null_effect(1.0, np.array([2.0]))[1]) and np.isnan(null_p_value(np.nan, np.array([2.0])))


def test_t_interval_is_scipys() -> None:
    """Against scipy; one value has no interval."""
    values = np.array([0.1, 0.4, 0.35, 0.2])
    want = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert t_interval(values) == pytest.approx(want)
    assert np.isnan(t_interval(values[:1])).all()


def test_columns_beside_null_shifts() -> None:
    null = np.array([1.0, 2.0, 3.0, np.nan])
    found = compare_with_nulls(5.0, null)
    assert found == pytest.approx({"null_mean": 2.0, "effect": 3.0, "p_value": 1 / 4, "n_null": 3})
    none = compare_with_nulls(5.0, null[3:])
    assert none.pop("n_null") == 0 and all(np.isnan(value) for value in none.values())
