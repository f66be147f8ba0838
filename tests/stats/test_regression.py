"""Scores of numbers agree with scikit-learn and SciPy, their intervals with a bootstrap that repeats cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from scflyformer.stats import _intervals, _regression
from scflyformer.stats._intervals import percentile_interval
from scflyformer.stats._regression import mae, mae_draws, r2, r2_draws, spearman, spearman_draws
from scflyformer.stats._reports import number_scores

CASES = [
    pytest.param(r2_score, r2, r2_draws, id="r2"),
    pytest.param(mean_absolute_error, mae, mae_draws, id="mae"),
    pytest.param(lambda t, p: spearmanr(t, p).statistic, spearman, spearman_draws, id="spearman"),
]


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.choice([1.0, 3, 10, 30], 120)
    return truth, truth + rng.normal(0, 5, 120).round(), rng.integers(0, 8, 120)


@pytest.mark.parametrize(("oracle", "score", "resampled"), CASES)
def test_scores_and_intervals(numbers: tuple, oracle: Callable, score: Callable, resampled: Callable) -> None:
    truth, predicted, units = numbers
    assert score(truth, predicted) == pytest.approx(oracle(truth, predicted))
    draws = []
    for counts in _intervals.bootstrap_counts(8, n_boot=50, seed=3):
        for row in counts.astype(int):
            cells = np.repeat(np.arange(120), row[units])
            draws.append(oracle(truth[cells], predicted[cells]))
    np.testing.assert_allclose(resampled(truth, predicted, units, n_boot=50, seed=3), draws, rtol=1e-9)


@pytest.mark.parametrize(("oracle", "score", "resampled"), CASES)
def test_the_interval_covers_and_widens_with_samples(
    numbers: tuple, oracle: Callable, score: Callable, resampled: Callable
) -> None:
    truth, predicted, _ = numbers
    low, high = percentile_interval(resampled(truth, predicted))
    assert low < score(truth, predicted) < high
    assert np.isnan(percentile_interval(resampled(truth, predicted, np.zeros(120)))).all()


def test_gains_are_paired(numbers: tuple) -> None:
    """The resamples of two predictions are the same, so that what they have in common cancels out."""
    truth, predicted, units = numbers
    worse = predicted + 3
    first, second = (
        number_scores(truth, values, units, target_truth=truth, target_predicted=values, n_boot=60)
        for values in (predicted, worse)
    )
    gain, low, high = first.gain("r2", second)
    assert gain == pytest.approx(r2_score(truth, predicted) - r2_score(truth, worse))
    assert low == pytest.approx(np.quantile(first.draws["r2"] - second.draws["r2"], 0.025)) and low < gain < high
    assert first.gain("spearman", second) == pytest.approx((0, 0, 0), abs=1e-12)
    row = first.row()
    assert row["mae_low"] < row["mae"] < row["mae_high"]


def test_no_variation_has_no_score() -> None:
    same = np.ones(5)
    assert np.isnan([r2(same, same), spearman(same, np.arange(5)), spearman(np.arange(5), same)]).all()
    assert np.isnan(r2_draws(same, same, np.arange(5))).all()
    assert np.isnan(spearman_draws(same, np.arange(5.0), np.arange(5))).all()
    assert mae(same, same) == 0
    assert np.isnan(mae(np.empty(0), np.empty(0)))


def test_chunks_of_the_bootstrap_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_intervals, "_CHUNK", 30)
    chunks = list(_intervals.bootstrap_counts(10, n_boot=8, seed=0))
    assert [len(chunk) for chunk in chunks] == [3, 3, 2]
    assert all((chunk.sum(axis=1) == 10).all() for chunk in chunks)


def test_midranks_for_multiplicities() -> None:
    values, counts = np.array([2.0, 1, 2, 5]), np.array([1, 2, 3, 0])
    from scipy.stats import rankdata

    repeated = rankdata(np.repeat(values, counts))
    np.testing.assert_allclose(_regression._Ranked(values).ranks(counts)[:3], repeated[[0, 1, 3]])
