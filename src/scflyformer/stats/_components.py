"""Principal components of training cells, and neighbours on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scflyformer.stats._linear import CHUNK, dense_rows
from scflyformer.stats._sklearn import load_sklearn

N_COMPONENTS = 64


@dataclass(frozen=True, eq=False)
class Projection:
    """``(x − mean) @ axes``: mean (n_features,) and axes (n_features, n_components), float32."""

    mean: np.ndarray
    axes: np.ndarray

    def __call__(self, x: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        """Return the components, float32, shape (n_cells, n_components)."""
        return np.asarray(x @ self.axes, dtype=np.float32) - self.mean @ self.axes


def principal_components(x: np.ndarray | sparse.csr_matrix, n_components: int) -> Projection:
    """Return the projection on the first principal components of features (n_cells, n_features), always the same."""
    load_sklearn()
    from sklearn.decomposition import PCA

    dense = dense_rows(x, slice(None), np.float32)
    n_components = max(1, min(n_components, min(dense.shape) - 1))
    pca = PCA(n_components, random_state=0).fit(dense)
    return Projection(pca.mean_.astype(np.float32), pca.components_.T.astype(np.float32))


def nearest(x: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Return the rows of `x` nearest to each query by Euclidean distance, in no order, shape (n_queries, k)."""
    if k >= len(x):
        return np.tile(np.arange(len(x)), (len(queries), 1))
    squares = (x**2).sum(axis=1)
    out = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), CHUNK // 4):
        part = queries[start : start + CHUNK // 4]
        out[start : start + len(part)] = np.argpartition(squares - 2 * (part @ x.T), k - 1, axis=1)[:, :k]
    return out
