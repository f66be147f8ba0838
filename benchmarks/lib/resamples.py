"""Scores of test cells, each first of all cells, then in every resample of units, or in each library by itself.

Resamples depend on the test cells and the seed alone, so the difference of two arrays is a paired bootstrap. That holds
its level where units are many. Whether one method is better than another in new libraries, which are few, is told from
the gain in each of them.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scflyformer.stats._classification import macro_f1, macro_f1_by_unit
from scflyformer.stats._regression import r2, r2_parts, spearman, spearman_parts

LIBRARIES = "libraries"


class Resamples:
    """How often each unit (a type, or a cell) of the test set is drawn; the first row draws each once.

    ``codes`` is the unit of each test cell, ``counts`` the multiplicities, shape (1 + n_boot, n_units); ``unit`` says
    in words what is drawn.
    """

    def __init__(self, units: np.ndarray, *, n_boot: int = 1000, seed: int = 0, unit: str = "units") -> None:
        names, self.codes = np.unique(units, return_inverse=True)
        self.unit, n_units = unit, len(names)
        self.counts = np.ones((1 + n_boot, n_units), dtype=np.float32)
        random = np.random.default_rng(seed)
        self.counts[1:] = random.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_boot)

    def sums(self, *columns: np.ndarray) -> np.ndarray:
        """Return the sum of each column over each row's cells, shape (n_columns, n_rows)."""
        width = self.counts.shape[1]
        units = np.stack([np.bincount(self.codes, weights=column, minlength=width) for column in columns], axis=1)
        return (self.counts @ units).T

    def mean(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the (weighted) mean of one value a cell."""
        weights = np.ones(len(self.codes)) if weights is None else weights
        total, weight = self.sums(values * weights, weights)
        return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)

    def macro_f1(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the mean over classes, those that occur on either side, of F1."""
        n_classes = int(max(truth.max(), predicted.max())) + 1
        shape = (self.counts.shape[1], n_classes)

        def table(classes: np.ndarray, rows: np.ndarray) -> np.ndarray:
            units = sparse.csr_matrix((np.ones(len(rows)), (rows, classes)), shape=shape)
            return np.asarray((units.T @ self.counts.T.astype(np.float64)).T)

        right = truth == predicted
        hits = 2 * table(truth[right], self.codes[right])
        called = table(truth, self.codes) + table(predicted, self.codes)
        f1 = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        return f1.sum(axis=1) / (called > 0).sum(axis=1)

    def r2(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return 1 − residual / total sum of squares."""
        centred = truth - truth.mean()
        n, first, second, squared = self.sums(np.ones(len(truth)), centred, centred**2, (truth - predicted) ** 2)
        return 1 - squared / (second - first**2 / n)


class Libraries(Resamples):
    """All test cells in the first row, then each library by itself, sorted by name.

    R² and Spearman's correlation, which a library of one age does not have, are there split into what each library
    contributes, so that the mean over libraries is the score of all cells.
    """

    def __init__(self, libraries: np.ndarray) -> None:
        self.names = np.asarray(libraries).astype(str)
        known, self.codes = np.unique(self.names, return_inverse=True)
        self.unit, n_units = LIBRARIES, len(known)
        self.counts = np.concatenate([np.ones((1, n_units)), np.eye(n_units)]).astype(np.float32)

    def macro_f1(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return the mean of F1 over classes on either side; in a library over the classes that it has."""
        return np.append(macro_f1(truth, predicted), macro_f1_by_unit(truth, predicted, self.names))

    def r2(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return R², then the libraries' parts of it."""
        return np.append(r2(truth, predicted), r2_parts(truth, predicted, self.names))

    def spearman(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return Spearman's rank correlation, then the libraries' parts of it."""
        return np.append(spearman(truth, predicted), spearman_parts(truth, predicted, self.names))
