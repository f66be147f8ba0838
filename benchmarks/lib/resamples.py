"""Scores of test cells, each first as it is, then in every bootstrap resample.

Resamples depend on the test cells and the seed alone, so the difference of two arrays is a paired bootstrap.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scflyformer.stats._regression import _Ranked, _weighted_correlation

MIN_LIBRARIES = 6
"""With fewer test libraries, cells are resampled within each library instead of whole libraries."""


class Resamples:
    """How often each unit (a library, or a cell) of the test set is drawn; the first row draws each once.

    ``codes`` is the unit of each test cell, ``counts`` the multiplicities, shape (1 + n_boot, n_units).
    """

    def __init__(self, libraries: np.ndarray, *, n_boot: int = 1000, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        names, code = np.unique(libraries, return_inverse=True)
        if len(names) >= MIN_LIBRARIES:
            self.unit, self.codes, groups = "libraries", code, [np.arange(len(names))]
        else:
            self.unit, self.codes = "cells within library", np.arange(len(code))
            groups = [np.flatnonzero(code == number) for number in range(len(names))]
        self.counts = np.ones((1 + n_boot, self.codes.max() + 1), dtype=np.float32)
        for group in groups:
            self.counts[1:, group] = random.multinomial(len(group), np.full(len(group), 1 / len(group)), size=n_boot)

    def sums(self, *columns: np.ndarray) -> np.ndarray:
        """Return the sum of each column over each resample's cells, shape (n_columns, 1 + n_boot)."""
        width = self.counts.shape[1]
        units = np.stack([np.bincount(self.codes, weights=column, minlength=width) for column in columns], axis=1)
        return (self.counts @ units).T

    def mean(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the (weighted) mean of one value a cell."""
        weights = np.ones(len(self.codes)) if weights is None else weights
        total, weight = self.sums(values * weights, weights)
        return total / weight

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

    def spearman(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """Return Spearman's rank correlation."""
        x, y = _Ranked(truth), _Ranked(predicted)
        weights = (row[self.codes].astype(np.float64) for row in self.counts)
        return np.array([_weighted_correlation(x.ranks(each), y.ranks(each), each) for each in weights])
