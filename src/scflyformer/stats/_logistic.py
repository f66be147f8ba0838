"""Multinomial logistic regression as plain arrays."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse

from scflyformer.stats._classification import IMPOSSIBLE
from scflyformer.stats._linear import LinearHead, Scaler, one_scale
from scflyformer.stats._sklearn import load_sklearn

PENALTIES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0)
"""Inverse penalties C tried, strongest penalty first."""


def fit_logistic(
    x: np.ndarray | sparse.csr_matrix,
    y: np.ndarray,
    *,
    n_classes: int,
    penalty: float,
    scaler: Scaler = one_scale,
    max_iter: int = 300,
) -> LinearHead:
    """Fit multinomial logistic regression on features scaled over the cells given; the outputs are logits.

    Classes without a cell get bias `IMPOSSIBLE` and no weights. `penalty` is scikit-learn's C, the inverse strength of
    the L2 penalty. `scaler` is `one_scale` for an embedding, `standardised` for genes. A single class is an error.
    """
    load_sklearn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(y)
    if len(seen) < 2:
        raise ValueError("A classifier needs cells of at least two classes; the training cells have one.")
    mean, scale, z = scaler(x)
    model = LogisticRegression(C=penalty, max_iter=max_iter, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, y)
    weight, bias = np.zeros((n_classes, x.shape[1])), np.full(n_classes, float(IMPOSSIBLE))
    if len(seen) == 2:  # scikit-learn stores one row; half of it for each class gives the same probabilities
        weight[seen], bias[seen] = np.concatenate([-model.coef_, model.coef_]) / 2, 0.0
        bias[seen] = np.array([-0.5, 0.5]) * model.intercept_[0]
    else:
        weight[seen], bias[seen] = model.coef_, model.intercept_
    return LinearHead(mean, scale, weight, bias)


def held_out_losses(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the negative log-likelihood of each cell; NaN where its class was not in the training set."""
    from scipy.special import log_softmax

    picked = log_softmax(logits, axis=1)[np.arange(len(y)), y]
    return np.where(picked > IMPOSSIBLE / 2, -picked, np.nan)


def held_out_loss(logits: np.ndarray, y: np.ndarray) -> float:
    """Return the mean negative log-likelihood of the cells whose class was in the training set."""
    losses = held_out_losses(logits, y)
    known = np.isfinite(losses)
    return float(losses[known].mean()) if known.any() else float("inf")
