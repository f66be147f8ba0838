"""Scores equal the plain ones where nothing is resampled, and the same on resampled cells otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scflyformer.stats._classification import calibration_error as plain_error

N = 300


@pytest.fixture
def drawn():
    from benchmarks.lib.resamples import Resamples

    random = np.random.default_rng(0)
    score = np.round(random.random(N), 2)
    right = (random.random(N) < score).astype(float)
    draws = Resamples(np.arange(N), n_boot=10)
    cells = [np.repeat(np.arange(N), row[draws.codes].astype(int)) for row in draws.counts]
    return draws, score, right, cells


def test_calibration_error(drawn):
    from benchmarks.annotation.scores import calibration_error

    draws, score, right, cells = drawn
    expected = [plain_error(score[rows], right[rows]) for rows in cells]
    np.testing.assert_allclose(calibration_error(draws, score, right), expected, atol=1e-9)


def test_coverage_is_the_largest_share_that_is_right_often_enough(drawn):
    from benchmarks.annotation.scores import coverage

    def by_hand(score, right, precision):
        shares = [(score >= least).mean() for least in np.unique(score) if right[score >= least].mean() >= precision]
        return max(shares, default=0.0)

    draws, score, right, cells = drawn
    for precision in (0.7, 0.95):
        expected = [by_hand(score[rows], right[rows], precision) for rows in cells]
        np.testing.assert_allclose(coverage(draws, score, right, precision), expected)
    assert coverage(draws, score, np.zeros(N))[0] == 0 and coverage(draws, score, np.ones(N))[0] == 1


def test_auroc_with_ties(drawn):
    from benchmarks.annotation.scores import auroc

    draws, score, right, cells = drawn
    expected = [roc_auc_score(right[rows], score[rows]) for rows in cells]
    np.testing.assert_allclose(auroc(draws, score, right > 0), expected)


def test_recalls():
    from benchmarks.annotation.scores import recalls

    a, b = recalls(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1]), np.array(["a", "b", "c"]))
    assert a == {"type": "a", "n_cells": 2, "recall": 0.5, "precision": 1.0, "f1": 2 / 3}
    assert b["recall"] == b["precision"] == 1
