"""Scores of classes, gathered: against scikit-learn, and with a temperature that a fold has no part in."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from scflyformer.stats._classification import softmax
from scflyformer.stats._reports import calibrated, class_scores, per_class_scores


@pytest.fixture
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes of 300 cells, logits three times too sure of them, folds."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (300, 3))
    truth = np.array([random.choice(3, p=p) for p in softmax(logits)])
    return truth, 3 * logits, np.arange(300) % 4


def test_a_fold_has_no_part_in_its_own_temperature(cells: tuple) -> None:
    truth, logits, folds = cells
    probability, temperature = calibrated(logits, truth, folds)
    wrong = np.where(folds == 1, (truth + 1) % 3, truth)
    changed, other = calibrated(logits, wrong, folds)
    np.testing.assert_array_equal(changed[folds == 1], probability[folds == 1])
    assert not np.allclose(changed[folds == 0], probability[folds == 0]) and other > temperature
    assert temperature == pytest.approx(3, rel=0.2)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_array_equal(probability.argmax(axis=1), logits.argmax(axis=1))


def test_scores_before_and_after_abstaining(cells: tuple) -> None:
    truth, logits, units = cells
    probability = softmax(logits, 3.0)
    best, covered = probability.argmax(axis=1), probability.max(axis=1) > 0.7
    row = class_scores(truth, probability, units, covered=covered, n_boot=50)
    assert row["accuracy"] == pytest.approx(accuracy_score(truth, best))
    assert row["macro_f1"] == pytest.approx(f1_score(truth, best, average="macro"))
    assert row["accuracy_covered"] == pytest.approx(accuracy_score(truth[covered], best[covered]))
    assert row["coverage"] == pytest.approx(covered.mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    too_sure = class_scores(truth, softmax(logits), units, covered=covered, n_boot=2)
    assert too_sure["ece"] > 2 * row["ece"]


def test_scores_of_each_class(cells: tuple) -> None:
    """A class that is never predicted has no precision, one without cells no recall."""
    truth, logits, _ = cells
    best = logits.argmax(axis=1)
    found = per_class_scores(truth, best, 3)
    oracle = precision_recall_fscore_support(truth, best)
    for name, values in zip(("precision", "recall", "f1", "n_cells"), oracle, strict=True):
        np.testing.assert_allclose(found[name], values)
    odd = per_class_scores(np.array([0, 0, 1]), np.array([0, 2, 0]), 3)
    assert odd["recall"][:2].tolist() == [0.5, 0] and np.isnan(odd["recall"][2])
    assert odd["precision"][[0, 2]].tolist() == [0.5, 0] and np.isnan(odd["precision"][1])
