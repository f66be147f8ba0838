"""Multinomial logistic regression as plain arrays, its penalty chosen on inner folds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scflyformer.stats._classification import IMPOSSIBLE
from scflyformer.stats._linear import LinearHead, column_moments, dense_rows

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties C tried, strongest penalty first."""


@dataclass(frozen=True, eq=False)
class LogisticResult:
    """Cross-validated class scores.

    Attributes
    ----------
    logits
        Out-of-fold logits, float64, shape (n_cells, n_classes); a class missing in the training folds gets a logit so
        low that its probability is 0.
    penalties
        C chosen inside each outer training set, shape (n_folds,).
    penalty
        The C for a fit on all cells: the geometric mean of these, taken to the nearest one tried.
    """

    logits: np.ndarray
    penalties: np.ndarray
    penalty: float


def fit_logistic(
    x: np.ndarray | sparse.csr_matrix,
    y: np.ndarray,
    *,
    n_classes: int,
    penalty: float,
    max_iter: int = 300,
) -> LinearHead:
    """Fit multinomial logistic regression on features standardised over the cells given.

    Parameters
    ----------
    x
        Features, shape (n_cells, n_features), dense or CSR.
    y
        Class codes below `n_classes`, shape (n_cells,).
    n_classes
        Number of classes; those without a cell get bias `IMPOSSIBLE` and no weights.
    penalty
        scikit-learn's C, the inverse strength of the L2 penalty.
    max_iter
        Bound on the steps of the solver.

    Returns
    -------
    A readout whose outputs are logits.

    Raises
    ------
    ValueError
        With fewer than two classes among the cells.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    seen = np.unique(y)
    if len(seen) < 2:
        raise ValueError("A classifier needs cells of at least two classes; the training cells have one.")
    mean, scale = column_moments(x)
    z = dense_rows(x, slice(None), np.float32)
    z = (z - mean.astype(np.float32)) / scale.astype(np.float32)
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


def cross_logistic(
    x: np.ndarray | sparse.csr_matrix,
    y: np.ndarray,
    folds: np.ndarray,
    *,
    n_classes: int,
    penalties: Sequence[float] = PENALTIES,
) -> LogisticResult:
    """Return out-of-fold logits; C is chosen by the log-likelihood of one training fold held out from the others.

    The same grid is gone through for any features, from the strongest penalty on, until the likelihood falls.

    Parameters
    ----------
    x
        Features, shape (n_cells, n_features), dense or CSR.
    y
        Class codes below `n_classes`, shape (n_cells,).
    folds
        Fold of each cell, 0 to n_folds − 1, shape (n_cells,). With two folds C is the middle one tried, as no fold is
        left to choose it on.
    n_classes
        Number of classes.
    penalties
        Inverse penalties C to choose from.

    Returns
    -------
    Logits and the C of each fold.

    Raises
    ------
    ValueError
        When a training set holds a single class.
    """
    n_folds = int(folds.max()) + 1
    logits = np.empty((len(y), n_classes))
    chosen = np.empty(n_folds)
    for fold in range(n_folds):
        inner = (fold + 1) % n_folds
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        core, check = np.flatnonzero((folds != fold) & (folds != inner)), np.flatnonzero(folds == inner)
        if n_folds < 3 or len(np.unique(y[core])) < 2:
            chosen[fold] = penalties[len(penalties) // 2]
        else:
            chosen[fold] = _choose(x[core], y[core], x[check], y[check], n_classes, penalties)
        logits[held] = fit_logistic(x[train], y[train], n_classes=n_classes, penalty=chosen[fold])(x[held])
    middle = np.exp(np.log(chosen).mean())
    return LogisticResult(logits, chosen, min(penalties, key=lambda penalty: abs(np.log(penalty / middle))))


def _choose(
    x: np.ndarray | sparse.csr_matrix,
    y: np.ndarray,
    x_held: np.ndarray | sparse.csr_matrix,
    y_held: np.ndarray,
    n_classes: int,
    penalties: Sequence[float],
) -> float:
    """Return the C with the least held-out loss, tried in order until the loss rises (one minimum in practice)."""
    best, least = penalties[0], np.inf
    for penalty in penalties:
        loss = _loss(fit_logistic(x, y, n_classes=n_classes, penalty=penalty)(x_held), y_held)
        if loss >= least:
            break
        best, least = penalty, loss
    return best


def _loss(logits: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood over the cells whose class was in the training set."""
    from scipy.special import log_softmax

    picked = log_softmax(logits, axis=1)[np.arange(len(y)), y]
    known = picked > IMPOSSIBLE / 2
    return float(-picked[known].mean()) if known.any() else float("inf")
