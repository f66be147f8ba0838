"""The probe equals scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scflyformer.stats._classification import softmax
from scflyformer.stats._logistic import fit_logistic


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
