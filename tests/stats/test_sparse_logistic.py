"""The L1 solver reaches scikit-learn's objective, and its penalty is measured from the one that leaves no weight."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression

from scflyformer.stats._classification import IMPOSSIBLE, softmax
from scflyformer.stats._sparse_logistic import fit_sparse_logistic

L1 = {"l1_ratio": 1} | ({"penalty": "elasticnet"} if getattr(LogisticRegression(), "penalty", None) == "l2" else {})
"""The penalty as scikit-learn 1.8 takes it, or as releases before it do."""


def _data(n_classes: int = 4, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, n)
    x = rng.normal(size=(n, 20)) + rng.normal(size=(n, 1)) + np.eye(n_classes, 20)[y] * 2
    return (x * rng.uniform(0.5, 5, 20) + 1).astype(np.float32), y


def _objective(z: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, penalty: float) -> float:
    logits = z @ weight.T + bias
    return penalty * (logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]).sum() + np.abs(weight).sum()


@pytest.mark.parametrize("penalty", [0.02, 0.1, 1.0])
def test_the_objective_is_that_of_saga(penalty: float) -> None:
    x, y = _data()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    oracle = LogisticRegression(**L1, solver="saga", C=penalty, tol=1e-6, max_iter=5000).fit(z, y)
    head = fit_sparse_logistic(x, y, n_classes=4, penalty=penalty)
    least = _objective(z, y, oracle.coef_, oracle.intercept_, penalty)
    assert _objective(z, y, head.weight, head.bias, penalty) == pytest.approx(least, rel=1e-3)
    np.testing.assert_allclose(softmax(head(x)), oracle.predict_proba(z), atol=0.03)


def test_shares_of_the_penalty_that_leaves_nothing() -> None:
    x, y = _data()
    none, few, many = (fit_sparse_logistic(x, y, n_classes=4, share=share) for share in (1.001, 0.5, 0.01))
    assert (none.weight == 0).all()
    np.testing.assert_allclose(softmax(none(x[:1]))[0], np.bincount(y) / len(y), atol=1e-3)
    assert 0 < (few.weight != 0).sum() < (many.weight != 0).sum()


def test_sparse_input_and_classes_without_cells() -> None:
    x, y = _data()
    x[:, 3] = 7  # does not vary
    dense = fit_sparse_logistic(x, 2 * y, n_classes=8, share=0.05)
    thin = fit_sparse_logistic(sp.csr_matrix(x), 2 * y, n_classes=8, share=0.05)
    np.testing.assert_allclose(softmax(thin(x)), softmax(dense(x)), atol=1e-3)
    assert (dense.bias[1::2] == IMPOSSIBLE).all() and (dense.weight[:, 3] == 0).all()
    with pytest.raises(ValueError, match="at least two classes"):
        fit_sparse_logistic(x, np.zeros(len(x), int), n_classes=2, share=0.1)
