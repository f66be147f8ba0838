"""Scores of classes agree with scikit-learn and plain loops; temperature scaling finds a planted temperature."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import accuracy_score, f1_score, log_loss

from scflyformer.stats._classification import (
    IMPOSSIBLE,
    accuracy,
    accuracy_by_unit,
    calibration_error,
    fit_temperature,
    macro_f1,
    macro_f1_by_unit,
    macro_f1_draws,
    softmax,
)
from scflyformer.stats._intervals import bootstrap_counts


@pytest.fixture
def labels() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 150)
    return truth, np.where(rng.random(150) < 0.7, truth, rng.integers(0, 5, 150)), rng.integers(0, 6, 150)


def test_scores_and_resamples(labels: tuple) -> None:
    truth, predicted, units = labels
    assert accuracy(truth, predicted) == pytest.approx(accuracy_score(truth, predicted))
    assert macro_f1(truth, predicted) == pytest.approx(f1_score(truth, predicted, average="macro"))
    f1s = []
    for counts in bootstrap_counts(6, n_boot=40, seed=0):
        for row in counts.astype(int):
            cells = np.repeat(np.arange(150), row[units])
            f1s.append(f1_score(truth[cells], predicted[cells], average="macro"))
    np.testing.assert_allclose(macro_f1_draws(truth, predicted, units, n_boot=40), f1s)
    assert np.isnan(macro_f1_draws(truth, predicted, np.zeros(150))).all()


def test_scores_of_each_unit_by_itself(labels: tuple) -> None:
    """Macro-F1 over the classes that the unit has: one that is only called there is no class of it."""
    truth, predicted, units = labels
    accuracies, f1s = [], []
    for unit in range(6):
        inside = units == unit
        accuracies.append(accuracy_score(truth[inside], predicted[inside]))
        has = np.unique(truth[inside])
        f1s.append(f1_score(truth[inside], predicted[inside], labels=has, average="macro", zero_division=0))
    np.testing.assert_allclose(accuracy_by_unit(truth, predicted, units), accuracies)
    np.testing.assert_allclose(macro_f1_by_unit(truth, predicted, units), f1s)
    assert macro_f1_by_unit(np.array([0, 0]), np.array([0, 3]), np.zeros(2)) == pytest.approx([2 / 3])


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
