"""What a classifier says of a class, before and after an edit, against plain sums of exponentials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scflyformer.perturbation._classifier_reader import ClassQuestion
from scflyformer.stats._linear import LinearHead


def classifier(weight: np.ndarray, temperature: float) -> Any:
    n_classes, width = weight.shape
    head = LinearHead(np.full(width, 0.2), np.full(width, 2.0), weight, np.linspace(-1, 1, n_classes))
    return SimpleNamespace(head=head, temperature=temperature)


def test_answers_of_each_cell() -> None:
    random = np.random.default_rng(0)
    weight, vectors = random.normal(size=(4, 3)), random.normal(size=(6, 3))
    asked, rival, cells = np.array([0, 3, 2]), np.array([1, 0, 3]), np.array([0, 1, 2, 2, 1, 0])
    found = ClassQuestion(classifier(weight, 1.7), asked, rival).answers(vectors, cells)
    for vector, cell, answer in zip(vectors, cells, found, strict=True):
        part = np.exp((weight @ ((vector - 0.2) / 2) + np.linspace(-1, 1, 4)) / 1.7)
        share = part / part.sum()
        own, other = share[asked[cell]], share[rival[cell]]
        assert answer == pytest.approx([np.log(own / (1 - own)), own, np.log(own / other)])


def test_log_odds_do_not_saturate() -> None:
    """Far out the probability is 1 to the last digit, and one step less still costs the class what it costs it."""
    question = ClassQuestion(classifier(np.array([[400.0], [0.0], [-400.0]]), 1.0), np.zeros(1, int), np.ones(1, int))
    odds, probability, contrast = question.answers(np.array([[1.0], [2.0]]), np.zeros(2, int)).T
    assert probability.tolist() == [1.0, 1.0]
    assert odds[1] - odds[0] == pytest.approx(200) == contrast[1] - contrast[0]


def test_two_classes_are_each_other_s_contrast() -> None:
    question = ClassQuestion(classifier(np.array([[1.0], [-1.0]]), 0.5), np.array([0, 1]), np.array([1, 0]))
    odds, _, contrast = question.answers(np.array([[0.3], [-2.0]]), np.array([0, 1])).T
    assert odds == pytest.approx(contrast) and odds[0] != pytest.approx(odds[1])
