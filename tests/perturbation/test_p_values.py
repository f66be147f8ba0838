"""p-values, effects and intervals follow their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scflyformer.perturbation._p_values import label_p_value, null_effect, null_p_value, tail_p_value
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


@pytest.mark.parametrize("draw", ["normal", "laplace", "standard_t"])
def test_tails_are_calibrated(draw: str) -> None:
    """Of null genes tested among others as many are below a level as it says, also where tails are heavy."""
    rng = np.random.default_rng(0)
    shape = {"standard_t": {"df": 4}}.get(draw, {})
    drawn = [getattr(rng, draw)(size=201, **shape) for _ in range(1500)]
    p = [tail_p_value(one[0], one[1:]) for one in drawn]
    for level, most in ((0.5, 0.55), (0.05, 0.07), (0.005, 0.012)):
        assert np.mean(np.array(p) <= level) <= most
    assert np.mean(np.array(p) <= 0.5) > 0.45


def test_tails_reach_beyond_the_count_of_null_genes() -> None:
    """True shifts among the null genes hardly hide another one."""
    rng = np.random.default_rng(1)
    null = np.concatenate([rng.normal(size=190), rng.normal(12, 1, size=10)])
    assert null_p_value(12.0, null) > 0.02 and tail_p_value(12.0, null) < 1e-3
    assert np.isnan(tail_p_value(1.0, null[:19])) and np.isnan(tail_p_value(1.0, np.zeros(50)))
    assert np.isnan(tail_p_value(np.nan, null))


def test_permuted_states_judge_the_effect() -> None:
    """What a goal's place does to every gene alike says nothing; an effect on the true goal alone does."""
    rng = np.random.default_rng(2)
    place = rng.normal(0, 5, size=100)
    null, own = place + rng.normal(size=(40, 100)), place + rng.normal(size=100)
    beside = (own - np.median(null, 0)) / np.subtract(*np.quantile(null, [0.75, 0.25], axis=0))
    expected = np.mean(np.abs(beside) >= abs(beside[0]))
    assert label_p_value(own, null) == pytest.approx(expected)
    own[0] += 6
    assert label_p_value(own, null) == 0.01
    p = [label_p_value(place + rng.normal(size=100), place + rng.normal(size=(40, 100))) for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.isnan(label_p_value(own, null[:19])) and np.isnan(label_p_value(own[:1], null[:, :1]))
