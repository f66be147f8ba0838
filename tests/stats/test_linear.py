"""One scale for an embedding, one for each gene."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scflyformer.stats._linear import LinearHead, one_scale, standardised


def _data() -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(50, 5)) * [100, 10, 1, 1, 0] + [3, 0, -40, 0, 7]
    return np.where(np.arange(5) == 3, x * (x > 0), x).astype(np.float32)


@pytest.mark.parametrize("sparse", [False, True])
def test_one_scale_keeps_the_ratio_of_variances(sparse: bool) -> None:
    x = _data()
    mean, scale, z = one_scale(sp.csr_matrix(x) if sparse else x)
    assert scale.shape == mean.shape == (5,) and len(set(scale)) == 1 and z.dtype == np.float32
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    assert z.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(z.std(axis=0) / z.std(axis=0)[0], x.std(axis=0) / x.std(axis=0)[0], rtol=1e-3)
    np.testing.assert_allclose(one_scale(x * 1e-4)[2], z, atol=1e-3)


def test_standardised_gives_each_column_variance_1() -> None:
    _, scale, z = standardised(_data())
    np.testing.assert_allclose(z.std(axis=0), [1, 1, 1, 1, 0], rtol=1e-4)
    assert scale[4] == 1


def test_columns_that_do_not_vary_or_hold_nan() -> None:
    constant = np.full((6, 3), [1e8, 0.1, 0], dtype=np.float32)
    _, scale, z = one_scale(constant)
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(z, 0)
    x = _data()
    x[0, 1] = np.nan
    _, scale, z = one_scale(x)
    others = [0, 2, 3, 4]
    assert np.isfinite(z[:, others]).all() and np.isnan(z[:, 1]).all()
    assert scale[0] == pytest.approx(np.sqrt((x[:, others].var(axis=0)).sum() / 5), rel=1e-4)


def test_a_readout_undoes_the_scale() -> None:
    x, weight = _data(), np.random.default_rng(1).normal(size=(2, 5))
    mean, scale, z = one_scale(x)
    head = LinearHead(mean, scale, weight, np.array([1.0, 2.0]))
    np.testing.assert_allclose(head(x), z @ weight.T + [1, 2], atol=1e-4)
    np.testing.assert_allclose(head(sp.csr_matrix(x)), head(x), atol=1e-6)
