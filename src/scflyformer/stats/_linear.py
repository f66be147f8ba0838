"""A linear readout as plain arrays, so that it can be saved without pickle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

CHUNK = 4096
"""Rows made dense at a time."""
Scaled: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Mean of each column and what it is divided by, float64, and the dense scaled features, float32."""
Scaler: TypeAlias = Callable[[Any], Scaled]
"""Takes features (n_cells, n_features) of the training cells: `one_scale` or `standardised`."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """``((x − mean) / scale) @ weight.T + bias``.

    The scale is the standard deviation of a feature, or one number for all features of an embedding. A feature that did
    not vary has weight 0.
    """

    mean: np.ndarray  # of each feature over the training cells, float64, (n_features,)
    scale: np.ndarray  # what it is divided by, float64, (n_features,)
    weight: np.ndarray  # (n_outputs, n_features)
    bias: np.ndarray  # (n_outputs,)

    @property
    def slope(self) -> np.ndarray:
        """Change of each output with one unit of each feature, float64, shape (n_outputs, n_features)."""
        return (self.weight / self.scale).astype(np.float64)

    @property
    def offset(self) -> np.ndarray:
        """Each output where all features are 0, float64, shape (n_outputs,)."""
        return self.bias - self.slope @ self.mean

    def restricted(self, columns: np.ndarray) -> LinearHead:
        """Return the head of some features, int64; the others count as average."""
        return LinearHead(self.mean[columns], self.scale[columns], self.weight[:, columns], self.bias)

    def __call__(self, x: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Return the outputs, float64, shape (n_cells, n_outputs), of features (n_cells, n_features)."""
        slope, offset = self.slope.T, self.offset
        if sparse.issparse(x):
            return np.asarray(x @ slope) + offset
        out = np.empty((len(x), len(self.bias)))
        for start in range(0, len(x), CHUNK):
            out[start : start + CHUNK] = x[start : start + CHUNK].astype(np.float64) @ slope + offset
        return out

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the four arrays by name."""
        return {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}


def dense_rows(x: np.ndarray | sparse.csr_matrix, rows: np.ndarray | slice, dtype: type = np.float64) -> np.ndarray:
    """Return some rows of a dense or sparse matrix as a dense array."""
    part: Any = x[rows]
    return np.asarray(part.toarray() if sparse.issparse(part) else part, dtype=dtype)


def _moments(x: np.ndarray | sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, float64; 0 where a column does not vary or holds NaN."""
    n, width = x.shape
    if sparse.issparse(x):
        rows: Any = x
        data = rows.data.astype(np.float64)
        mean = np.bincount(rows.indices, weights=data, minlength=width) / max(n, 1)
        variance = np.bincount(rows.indices, weights=data**2, minlength=width) / max(n, 1) - mean**2
    else:
        mean = np.mean(x, axis=0, dtype=np.float64)
        variance = np.zeros(width)
        for start in range(0, n, CHUNK):
            variance += ((x[start : start + CHUNK] - mean) ** 2).sum(axis=0) / n
    spread = np.sqrt(np.maximum(variance, 0))
    return mean, np.where(spread > 1e-6 * np.maximum(1e-6, np.abs(mean)), spread, 0.0)


def column_moments(x: np.ndarray | sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, float64; standard deviation 1 where a column does not vary."""
    mean, spread = _moments(x)
    return mean, np.where(spread > 0, spread, 1.0)


def standardised(x: np.ndarray | sparse.csr_matrix) -> Scaled:
    """Give each column mean 0 and variance 1: for genes, whose variances say little of what they tell."""
    return _scaled(x, *column_moments(x))


def one_scale(x: np.ndarray | sparse.csr_matrix) -> Scaled:
    """Centre the columns and divide all of them by one number, so that their mean variance is 1.

    For embeddings and principal components: columns of small variance stay small, and a penalty shrinks them more. The
    factor makes one grid of penalties serve any unit. It is 1 where no column varies.
    """
    mean, spread = _moments(x)
    common = np.sqrt(np.mean(spread**2))
    return _scaled(x, mean, np.full(len(mean), common if common > 0 else 1.0))


def _scaled(x: np.ndarray | sparse.csr_matrix, mean: np.ndarray, scale: np.ndarray) -> Scaled:
    return mean, scale, (dense_rows(x, slice(None), np.float32) - mean.astype(np.float32)) / scale.astype(np.float32)
