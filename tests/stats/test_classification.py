"""Scores of classes agree with scikit-learn and plain loops; temperature scaling finds a planted temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import accuracy_score, f1_score, log_loss

from scflyformer.stats._classification import (
    IMPOSSIBLE,
    accuracy,
    accuracy_draws,
    calibration_error,
    fit_temperature,
    macro_f1,
    macro_f1_draws,
    softmax,
)
from scflyformer.stats._intervals import bootstrap_counts
from scflyformer.stats._reports import class_gains, gain_sentence, verdict


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 150)
    return truth, np.where(rng.random(150) < 0.7, truth, rng.integers(0, 5, 150)), rng.integers(0, 6, 150)


def test_scores_and_intervals(labels: tuple) -> None:
    truth, predicted, units = labels
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro"))
    f1s, accuracies = [], []
    for counts in bootstrap_counts(6, n_boot=40, seed=0):
        for row in counts.astype(int):
            cells = np.repeat(np.arange(150), row[units])
            f1s.append(f1_score(truth[cells], predicted[cells], average="macro"))
            accuracies.append(accuracy_score(truth[cells], predicted[cells]))
    np.testing.assert_allclose(macro_f1_draws(truth, predicted, units, n_boot=40), f1s)
    np.testing.assert_allclose(accuracy_draws(truth, predicted, units, n_boot=40), accuracies)


def test_a_sentence_names_the_other_once() -> None:
    row = {"features": "depth", "r2_gain": 0.1234, "r2_gain_low": 0.05, "r2_gain_high": 0.2}
    row |= {"rho_gain": -0.1, "rho_gain_low": -0.3, "rho_gain_high": 0.1}
    said = gain_sentence("embedding", row, {"r2": "R²", "rho": "Spearman"})
    assert said == (
        "embedding above depth in R² (+0.123, 95 % +0.050 to +0.200); "
        "cannot be told from it in Spearman (-0.100, 95 % -0.300 to +0.100)"
    )
    assert gain_sentence("embedding", row, {"r2": "R²"}) == said.split(";")[0]


def test_gains_are_paired(labels: tuple) -> None:
    """Two predictions with the same errors but for a few cells differ by a narrow interval; words follow it."""
    truth, predicted, units = labels
    better = np.where(np.arange(150) < 30, truth, predicted)
    gain = class_gains(truth, better, predicted, units)
    assert gain["accuracy_gain"] == pytest.approx((better == truth).mean() - (predicted == truth).mean())
    assert gain["macro_f1_gain"] == pytest.approx(macro_f1(truth, better) - macro_f1(truth, predicted))
    draws = accuracy_draws(truth, better, units) - accuracy_draws(truth, predicted, units)
    np.testing.assert_allclose(
        [gain["accuracy_gain_low"], gain["accuracy_gain_high"]], np.quantile(draws, [0.025, 0.975])
    )
    assert verdict(gain["accuracy_gain_low"], gain["accuracy_gain_high"]) == "above"
    back = class_gains(truth, predicted, better, units)
    assert back["macro_f1_gain_high"] == pytest.approx(-gain["macro_f1_gain_low"])
    assert verdict(back["macro_f1_gain_low"], back["macro_f1_gain_high"]) == "below"
    same = class_gains(truth, predicted, predicted, units)
    assert (same["accuracy_gain_low"], same["accuracy_gain_high"]) == pytest.approx((0, 0), abs=1e-12)
    assert verdict(0.0, 0.0) == verdict(np.nan, np.nan) == "cannot be told from"
    assert np.isnan(list(class_gains(truth, predicted, None, units).values())).all()
    alone = class_gains(truth, better, predicted, np.zeros(150))
    assert alone["accuracy_gain"] > 0 and np.isnan(alone["accuracy_gain_low"])


def test_one_unit_has_no_interval(labels: tuple) -> None:
    truth, predicted, _ = labels
    one = np.zeros(150)
    assert np.isnan([*accuracy_draws(truth, predicted, one), *macro_f1_draws(truth, predicted, one)]).all()


def test_calibration_error_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(300), [0.0, 1.0, 0.2]])
    correct = rng.random(303) < confidence**2
    expected = 0.0
    for number in range(10):
        low, high = number / 10, (number + 1) / 10
        inside = (confidence > low) & (confidence <= high) | ((number == 0) & (confidence == 0))
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct, n_bins=10) == pytest.approx(expected)
    assert np.isnan(calibration_error(np.empty(0), np.empty(0)))


def test_temperature_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    found = fit_temperature(logits * 2.5, truth)
    assert found == pytest.approx(2.5, rel=0.1)
    oracle = minimize(lambda t: log_loss(truth, softmax(2.5 * logits, t[0])), [1.0], method="Nelder-Mead").x[0]
    assert found == pytest.approx(oracle, rel=1e-2)


def test_a_class_never_seen_does_not_count_for_the_temperature() -> None:
    logits = np.array([[2.0, 0, IMPOSSIBLE], [0, 2, IMPOSSIBLE], [1, 0, IMPOSSIBLE], [0.5, 0.6, IMPOSSIBLE]])
    truth = np.array([0, 1, 1, 0])
    more = np.concatenate([logits, logits[:1]])
    assert fit_temperature(more, np.append(truth, 2)) == pytest.approx(fit_temperature(logits, truth))
    assert fit_temperature(logits[:1], np.array([2])) == 1.0
    assert softmax(logits)[0, 2] == 0
