"""Families of classifiers, each with one hyper-parameter and as many values to try, so that all are tuned alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from scflyformer.stats._classification import IMPOSSIBLE
from scflyformer.stats._components import N_COMPONENTS, Projection, nearest, principal_components
from scflyformer.stats._linear import LinearHead
from scflyformer.stats._logistic import PENALTIES, fit_logistic
from scflyformer.stats._sparse_logistic import SHARES, fit_sparse_logistic

Matrix: TypeAlias = np.ndarray | sparse.csr_matrix
Classifier: TypeAlias = Callable[[Any], np.ndarray]
"""Takes features (n_cells, n_features), gives logits, float64, (n_cells, n_classes)."""
NEIGHBOURS_TRIED = (128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0)


@dataclass(frozen=True, eq=False)
class Family:
    """Classifiers that differ in one number."""

    name: str
    grid: tuple[float, ...]  # values of the number, that of the simplest classifier first
    fitter: Callable[..., Classifier]

    def fit(
        self, x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Classifier | None = None
    ) -> Classifier:
        """Fit one classifier; classes without a cell get logit `IMPOSSIBLE`.

        `start` is what this method returned for the same cells and a simpler value of the grid. Where the classifier is
        the same without it, it makes the fit faster: the L1 solver goes on from there, principal components are not
        found again. The L2 solver starts anew, since it stops early and would end elsewhere.
        """
        return self.fitter(x, y, n_classes=n_classes, parameter=parameter, start=start)


@dataclass(frozen=True, eq=False)
class Projected:
    """A classifier on principal components."""

    projection: Projection
    head: Classifier

    def __call__(self, x: Matrix) -> np.ndarray:
        """Return logits."""
        return self.head(self.projection(x))


@dataclass(frozen=True, eq=False)
class Votes:
    """Logarithm of the classes' shares among the `k` nearest cells and one more vote, split like all cells."""

    x: np.ndarray
    y: np.ndarray
    n_classes: int
    k: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return logits."""
        neighbours = self.y[nearest(self.x, x, self.k)]
        votes = np.zeros((len(x), self.n_classes)) + np.bincount(self.y, minlength=self.n_classes) / len(self.y)
        np.add.at(votes, (np.arange(len(x))[:, None], neighbours), 1)
        return _log_weights(votes)


@dataclass(frozen=True, eq=False)
class Constant:
    """The same logits for every cell."""

    logits: np.ndarray

    def __call__(self, x: Matrix) -> np.ndarray:
        """Return logits."""
        return np.tile(self.logits, (x.shape[0], 1))


def _log_weights(weights: np.ndarray) -> np.ndarray:
    return np.where(weights > 0, np.log(np.where(weights > 0, weights, 1)), IMPOSSIBLE)


def _logistic(x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> LinearHead:
    return fit_logistic(x, y, n_classes=n_classes, penalty=parameter)


def _sparse_logistic(x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> LinearHead:
    return fit_sparse_logistic(x, y, n_classes=n_classes, share=parameter, start=start)


def _pca_logistic(x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> Projected:
    projection = principal_components(x, N_COMPONENTS) if start is None else start.projection
    return Projected(projection, fit_logistic(projection(x), y, n_classes=n_classes, penalty=parameter))


def _neighbours(x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> Projected:
    projection = principal_components(x, N_COMPONENTS) if start is None else start.projection
    places = projection(x) if start is None else start.head.x
    return Projected(projection, Votes(places, y, n_classes, min(round(parameter), len(y))))


def _majority(x: Matrix, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> Constant:
    return Constant(_log_weights(np.bincount(y, minlength=n_classes).astype(np.float64)))


LOGISTIC = Family("logistic", PENALTIES, _logistic)
"""Multinomial logistic regression with an L2 penalty, for embeddings; the number is scikit-learn's C.

Features are centred and divided by one number, so that those of small variance stay small.
"""
SPARSE_LOGISTIC = Family("sparse logistic", SHARES, _sparse_logistic)
"""The same with an L1 penalty, for genes, each of which is standardised.

The number is the share of the penalty at which every weight is 0.
"""
PCA_LOGISTIC = Family("pca logistic", PENALTIES, _pca_logistic)
"""`LOGISTIC` on principal components of the training cells."""
NEIGHBOURS = Family("neighbours", NEIGHBOURS_TRIED, _neighbours)
"""Votes of the nearest training cells on principal components; the number is how many vote."""
MAJORITY = Family("majority", (1.0,), _majority)
"""The classes' frequencies; nothing to tune."""
