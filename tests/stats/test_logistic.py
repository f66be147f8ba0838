"""The probe equals scikit-learn's logistic regression, and tunes and scales inside the training folds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scflyformer.stats._classification import IMPOSSIBLE, softmax
from scflyformer.stats._logistic import PENALTIES, cross_logistic, fit_logistic


def _data(n_classes: int = 3, n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    x = rng.normal(size=(n, 6)) + rng.normal(0, 1.2, (n_classes, 6))[y]
    return (x * [1, 10, 100, 1, 1, 0] + [0, 0, 50, 0, 0, 3]).astype(np.float32), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_equals_sklearn(n_classes: int, sparse: bool) -> None:
    x, y = _data(n_classes)
    head = fit_logistic(sp.csr_matrix(x) if sparse else x, y, n_classes=n_classes, penalty=0.1)
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-6)).fit(x.astype(float), y)
    np.testing.assert_allclose(softmax(head(x)), oracle.predict_proba(x.astype(float)), atol=5e-3)
    assert {name: array.shape for name, array in head.tensors().items()} == {
        "mean": (6,),
        "scale": (6,),
        "weight": (n_classes, 6),
        "bias": (n_classes,),
    }
    assert head.weight[:, 5] == pytest.approx(0)  # the feature that does not vary


def test_classes_without_cells_are_impossible() -> None:
    x, y = _data(2)
    head = fit_logistic(x, 2 * y, n_classes=4, penalty=0.1)
    probability = softmax(head(x))
    assert (probability[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    with pytest.raises(ValueError, match="at least two classes"):
        fit_logistic(x, np.zeros(len(x), int), n_classes=2, penalty=0.1)


def test_out_of_fold_logits_come_from_the_other_folds() -> None:
    x, y = _data()
    folds = np.random.default_rng(0).integers(0, 4, len(y))
    result = cross_logistic(x, y, folds, n_classes=3)
    for fold in range(4):
        train = folds != fold
        head = fit_logistic(x[train], y[train], n_classes=3, penalty=result.penalties[fold])
        np.testing.assert_allclose(result.logits[~train], head(x[~train]))
    assert result.penalty in PENALTIES


def test_held_out_cells_have_no_part() -> None:
    x, y = _data()
    folds = np.arange(len(y)) // 3 % 4
    before = cross_logistic(x, y, folds, n_classes=3)
    shown = np.flatnonzero(folds == 0)[0]
    others = (folds == 0) & (np.arange(len(y)) != shown)
    swapped = np.where(folds == 0, (y + 1) % 3, y)
    after = cross_logistic(np.where(others[:, None], -100 * x, x), swapped, folds, n_classes=3)
    assert after.penalties[0] == before.penalties[0]
    np.testing.assert_allclose(after.logits[shown], before.logits[shown])


def test_a_class_of_one_fold_and_two_folds() -> None:
    x, y = _data()
    folds = np.arange(len(y)) // 3 % 2
    only_here = (y == 2) & (folds == 1)
    y = np.where((y == 2) & ~only_here, 0, y)
    result = cross_logistic(x, y, folds, n_classes=3)
    assert (result.logits[folds == 1, 2] <= IMPOSSIBLE).all()
    assert (result.logits[folds == 0, 2] > IMPOSSIBLE).all()
    assert (result.penalties == 0.1).all()
