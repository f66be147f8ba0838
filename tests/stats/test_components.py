"""Principal components and nearest neighbours against a singular value decomposition and a sort of all distances."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scflyformer.stats import _components
from scflyformer.stats._components import nearest, principal_components


def test_components_are_those_of_the_svd() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(50, 8)) @ np.diag([9, 7, 5, 3, 1, 1, 1, 1]) + 4
    found = principal_components(x, 3)(x)
    left, size, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    expected = (left * size)[:, :3]
    sign = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, expected * sign, atol=1e-4)
    few = principal_components(x[:3], 64)  # no more than the cells allow
    assert few.axes.shape == (8, 2)


def test_sparse_cells_have_the_same_components() -> None:
    random = np.random.default_rng(0)
    x = random.poisson(0.4, (60, 12)).astype(np.float32)
    dense, thin = principal_components(x, 4), principal_components(sparse.csr_matrix(x), 4)
    new = random.poisson(0.4, (9, 12)).astype(np.float32)
    np.testing.assert_allclose(thin(sparse.csr_matrix(new)), dense(new), atol=1e-5)
    np.testing.assert_allclose(dense(new), (new - x.mean(axis=0)) @ dense.axes, atol=1e-5)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_nearest_cells(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(_components, "CHUNK", 12)  # several chunks of queries
    random = np.random.default_rng(0)
    x, queries = random.normal(size=(30, 4)), random.normal(size=(10, 4))
    distance = np.linalg.norm(queries[:, None] - x[None], axis=2)
    found = nearest(x, queries, k)
    for row, near in zip(distance, found, strict=True):
        assert set(near) == set(np.argsort(row)[:k])
