"""Scores of numbers agree with scikit-learn and SciPy; what samples contribute adds up to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_1samp
from sklearn.metrics import mean_absolute_error, r2_score

from scflyformer.stats import _regression
from scflyformer.stats._regression import (
    mae,
    mae_parts,
    mean_parts,
    r2,
    r2_parts,
    spearman,
    spearman_influence,
    spearman_parts,
)
from scflyformer.stats._reports import number_scores

CASES = [
    pytest.param(r2_score, r2, r2_parts, id="r2"),
    pytest.param(mean_absolute_error, mae, mae_parts, id="mae"),
    pytest.param(lambda t, p: spearmanr(t, p).statistic, spearman, spearman_parts, id="spearman"),
    pytest.param(lambda t, p: spearmanr(t, p).statistic, spearman, spearman_influence, id="spearman's influence"),
]


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.choice([1.0, 3, 10, 30], 120)
    return truth, truth + rng.normal(0, 5, 120).round(), rng.integers(0, 8, 120)


@pytest.mark.parametrize(("oracle", "score", "parts"), CASES)
def test_the_parts_of_units_have_the_score_as_their_mean(
    numbers: tuple, oracle: Callable, score: Callable, parts: Callable
) -> None:
    truth, predicted, units = numbers
    assert score(truth, predicted) == pytest.approx(oracle(truth, predicted))
    for some, n in ((units, 8), (None, 120)):
        assert parts(truth, predicted, some).shape == (n,)
        assert parts(truth, predicted, some).mean() == pytest.approx(oracle(truth, predicted))
    others = np.where(units == 3, predicted + 50 * (truth - 5), predicted)  # of one unit alone
    changed = parts(truth, others, units) - parts(truth, predicted, units)
    if score is r2:
        np.testing.assert_allclose(np.delete(changed, 3), 0, atol=1e-12)
    assert np.abs(changed).max() > 0.01


def test_the_influence_on_a_correlation_is_that_of_leaving_a_unit_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy's, unit by unit; kept ranks come near it."""
    rng = np.random.default_rng(0)
    units, truth = np.repeat(np.arange(40), 10), rng.normal(size=400)
    predicted = truth + rng.normal(0, 0.3, 40)[units] + rng.normal(0, 0.7, 400)
    found = spearman_influence(truth, predicted, units)
    names = sorted(range(40), key=str)  # units come in the order of their names
    without = [spearmanr(truth[units != unit], predicted[units != unit]).statistic for unit in names]
    np.testing.assert_allclose(found - found.mean(), 39 * (np.mean(without) - without))
    monkeypatch.setattr(_regression, "_MOST_LEFT_OUT", 10)
    near = spearman_influence(truth, predicted, units)
    assert np.corrcoef(found, near)[0, 1] > 0.8 and near.std() == pytest.approx(found.std(), rel=0.3)


def test_parts_of_a_mean_have_the_variance_of_a_ratio() -> None:
    """The textbook's linearised ratio estimator, for units of different size; equal units have their means as parts."""
    rng = np.random.default_rng(0)
    sizes = np.arange(3, 13)
    units, values = np.repeat(np.arange(10), sizes), rng.normal(size=sizes.sum())
    sums = np.bincount(units, weights=values)
    ratio = sums.sum() / sizes.sum()
    by_hand = ((sums - ratio * sizes) ** 2).sum() / 9 / 10 / sizes.mean() ** 2
    assert mean_parts(values, units).var(ddof=1) / 10 == pytest.approx(by_hand)
    np.testing.assert_allclose(mean_parts(values[:72], np.arange(72) % 6), values[:72].reshape(12, 6).mean(axis=0))


def test_gains_are_paired_and_their_interval_is_students(numbers: tuple) -> None:
    """What two predictions have in common in a sample cancels out."""
    truth, predicted, units = numbers
    rng = np.random.default_rng(1)
    worse = predicted + rng.normal(3, 1, 120)
    first, second = (
        number_scores(truth, values, units, target_truth=truth, target_predicted=values)
        for values in (predicted, worse)
    )
    error = np.array([((truth - p) ** 2)[units == u].sum() for u in range(8) for p in (worse, predicted)]).reshape(8, 2)
    gains = 8 * (error[:, 0] - error[:, 1]) / ((truth - truth.mean()) ** 2).sum()
    gain, low, high = first.gain("r2", second)
    assert gain == pytest.approx(r2_score(truth, predicted) - r2_score(truth, worse)) == pytest.approx(gains.mean())
    assert (low, high) == pytest.approx(ttest_1samp(gains, 0).confidence_interval(0.95)) and low > 0
    assert first.gain("r2", first) == pytest.approx((0, 0, 0), abs=1e-12)
    row = first.row()
    assert row["mae_low"] < row["mae"] < row["mae_high"] and row["r2_high"] <= 1
    two = number_scores(truth, predicted, units % 2, target_truth=truth, target_predicted=predicted)
    assert np.isnan(
        two.gain("r2", number_scores(truth, worse, units % 2, target_truth=truth, target_predicted=worse))[1]
    )


def test_no_variation_has_no_score() -> None:
    same = np.ones(5)
    assert np.isnan([r2(same, same), spearman(same, np.arange(5)), spearman(np.arange(5), same)]).all()
    assert np.isnan(r2_parts(same, same, np.arange(5))).all()
    assert np.isnan(spearman_parts(same, np.arange(5.0), np.arange(5))).all()
    assert mae(same, same) == 0
    assert np.isnan(mae(np.empty(0), np.empty(0)))
