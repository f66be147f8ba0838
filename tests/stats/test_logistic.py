"""The probe equals scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from scflyformer.stats._classification import softmax
from scflyformer.stats._linear import Scaler, one_scale, standardised
from scflyformer.stats._logistic import fit_logistic


def _data(n_classes: int = 3, n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    x = rng.normal(size=(n, 6)) + rng.normal(0, 1.2, (n_classes, 6))[y]
    return (x * [1, 10, 100, 1, 1, 0] + [0, 0, 50, 0, 0, 3]).astype(np.float32), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("scaler", [one_scale, standardised])
def test_equals_sklearn(n_classes: int, sparse: bool, scaler: Scaler) -> None:
    x, y = _data(n_classes)
    head = fit_logistic(sp.csr_matrix(x) if sparse else x, y, n_classes=n_classes, penalty=0.1, scaler=scaler)
    spread = x.std(axis=0, dtype=float)
    scale = np.sqrt((spread**2).mean()) if scaler is one_scale else np.where(spread > 0, spread, 1)
    z = (x - x.mean(axis=0, dtype=float)) / scale
    oracle = LogisticRegression(C=0.1, tol=1e-6).fit(z, y)
    np.testing.assert_allclose(softmax(head(x)), oracle.predict_proba(z), atol=5e-3)
    assert {name: array.shape for name, array in head.tensors().items()} == {
        "mean": (6,),
        "scale": (6,),
        "weight": (n_classes, 6),
        "bias": (n_classes,),
    }
    assert head.weight[:, 5] == pytest.approx(0)  # the feature that does not vary


def test_an_embedding_keeps_the_relative_scale_of_its_columns_and_has_no_unit() -> None:
    """Two columns tell as much; the narrow one is shrunk more, unless both are standardised."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = (y[:, None] + rng.normal(size=(200, 2))) * [10.0, 1.0]

    def parts(x: np.ndarray, scaler: Scaler = one_scale) -> np.ndarray:
        head = fit_logistic(x, y, n_classes=2, penalty=0.003, scaler=scaler)
        return head.weight[1] / head.scale * x.std(axis=0)

    wide, narrow = parts(x)
    assert 0 < narrow < 0.05 * wide
    assert np.divide(*parts(x, standardised)) == pytest.approx(1, abs=0.3)
    for factor in (1e-3, 1e3):
        np.testing.assert_allclose(parts(x * factor), [wide, narrow], rtol=1e-3)


def test_classes_without_cells_are_impossible() -> None:
    x, y = _data(2)
    head = fit_logistic(x, 2 * y, n_classes=4, penalty=0.1)
    probability = softmax(head(x))
    assert (probability[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    with pytest.raises(ValueError, match="at least two classes"):
        fit_logistic(x, np.zeros(len(x), int), n_classes=2, penalty=0.1)
