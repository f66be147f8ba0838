"""Bundles never mix what must stand apart, are of nearly one size, and do not depend on the order of cells."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.clock._pseudocells import bundle, bundle_means


@given(strata=st.lists(st.integers(0, 4), min_size=1, max_size=80), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_bundles(strata: list[int], size: int, seed: int) -> None:
    codes = np.array(strata)
    order = np.random.default_rng(seed).permutation(len(codes))
    bundles = bundle(codes, order, size=size, seed=seed)
    assert bundles.dtype == np.int64
    np.testing.assert_array_equal(np.unique(bundles), np.arange(bundles.max() + 1))
    of = {number: set(codes[bundles == number]) for number in np.unique(bundles)}
    assert all(len(one) == 1 for one in of.values())
    assert [min(of[number]) for number in sorted(of)] == sorted(min(one) for one in of.values())  # numbered by stratum
    for stratum in np.unique(codes):
        sizes = np.unique(bundles[codes == stratum], return_counts=True)[1]
        assert np.ptp(sizes) <= 1
        assert len(sizes) == max(round(sizes.sum() / size), 1)


def test_one_bundle_a_stratum() -> None:
    strata = np.array([7, 3, 7, 3, 3])
    assert bundle(strata, np.arange(5), size=None, seed=0).tolist() == [1, 0, 1, 0, 0]


def test_the_deal_is_of_cells_not_of_places() -> None:
    strata = np.repeat([0, 1], [40, 25])
    dealt = bundle(strata, np.arange(65), size=6, seed=5)
    moved = np.random.default_rng(0).permutation(65)  # where each cell stands now
    np.testing.assert_array_equal(bundle(strata[moved], np.argsort(moved), size=6, seed=5), dealt[moved])
    assert not np.array_equal(bundle(strata, np.arange(65), size=6, seed=6), dealt)
    together = dealt[:-1] == dealt[1:]
    assert 0 < together.mean() < 0.4  # at random, not cells that stand side by side


@pytest.mark.parametrize("sparse", [False, True])
def test_means_by_hand(sparse: bool) -> None:
    x = np.array([[1.0, 0], [3, 0], [0, 8], [5, 4]])
    means = bundle_means(sp.csr_matrix(x) if sparse else x, np.array([1, 1, 0, 1]))
    assert sp.issparse(means) == sparse
    np.testing.assert_allclose(means.toarray() if sparse else means, [[0, 8], [3, 4 / 3]])
