"""The probe on a frozen embedding, arrays in and arrays out: what it says of held-out cells, and which are strange."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.annotation._arms import probe

N, N_CLASSES = 240, 3
KNOWN = np.arange(10, 10 + N)
FOLDS = np.arange(N) // 3 % 4


@pytest.fixture
def labelled() -> tuple[np.ndarray, np.ndarray]:
    """An embedding of 260 cells, and the classes of those in the middle."""
    random = np.random.default_rng(0)
    y = np.arange(N) % N_CLASSES
    x = random.normal(size=(N + 20, 6)).astype(np.float32)
    x[KNOWN] += random.normal(0, 1.5, (N_CLASSES, 6))[y]
    return x, y


def test_a_held_out_fold_has_no_part_in_its_class_scores(labelled: tuple) -> None:
    """With other labels in a fold its logits stay as they were, but for the one temperature that all cells share."""
    x, y = labelled
    before = probe(None, x).fit(KNOWN, y, FOLDS, N_CLASSES)
    swapped = np.where(FOLDS == 1, (y + 1) % N_CLASSES, y)
    after = probe(None, x).fit(KNOWN, swapped, FOLDS, N_CLASSES)
    old, new = (np.diff(np.log(fitted.probability), axis=1) for fitted in (before, after))

    def spread(fold: int) -> float:
        ratio = (new / old)[fold == FOLDS]
        return float(np.ptp(ratio) / np.abs(np.median(ratio)))

    assert spread(1) < 1e-3 and spread(0) > 1  # the cells of fold 0 are judged by what learnt the other labels
    np.testing.assert_allclose(before.probability.sum(axis=1), 1)
    assert before.tested.all() and (before.probability.argmax(axis=1) == y).mean() > 0.8


def test_labels_without_meaning_are_not_learnt(labelled: tuple) -> None:
    x, y = labelled
    random = np.random.default_rng(1).permutation(y)
    fitted = probe(None, x).fit(KNOWN, random, FOLDS, N_CLASSES)
    assert (fitted.probability.argmax(axis=1) == random).mean() < 0.45
    assert fitted.probability.max(axis=1).mean() < 0.45  # and it says so


def test_strange_cells_are_told_from_those_like_the_reference(labelled: tuple) -> None:
    """Novelty of held-out cells is spread evenly from 0 to 1; that of cells unlike any class is close to 1."""
    x, y = labelled
    fitted = probe(None, x).fit(KNOWN, y, FOLDS, N_CLASSES)
    np.testing.assert_allclose(np.quantile(fitted.novelty, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
    far = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32) * 12
    probability, novelty = fitted.classifier(np.concatenate([x[KNOWN], far]))
    assert np.median(novelty[N:]) > 0.97 and np.median(novelty[:N]) < 0.6
    assert (probability[:N].argmax(axis=1) == y).mean() > 0.85
