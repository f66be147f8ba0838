"""Pseudocells and pseudobulks of a clock: what goes into one, and what its features, name and age are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.clock._units import Cells, assign_pseudocells, block_means, row_means, split_strata

NAMES = np.array([f"cell{n}" for n in range(60)], dtype=object)
SAMPLES = np.array([f"lib{n % 4}" for n in range(60)], dtype=object)
AGES = np.where(np.arange(60) % 4 < 2, 3.0, 30.0)
HALVES = np.arange(60) // 30


@pytest.mark.parametrize(("how", "n"), [("pseudocell", 8 * 2), ("pseudobulk", 8)])
def test_a_pseudocell_has_one_sample_one_age_and_one_fold(how: str, n: int) -> None:
    pseudocells = assign_pseudocells(NAMES, [HALVES, AGES, SAMPLES], how, size=4, seed=0)
    assert set(pseudocells) == set(range(n))
    for number in range(n):
        inside = pseudocells == number
        assert len(set(SAMPLES[inside])) == len(set(AGES[inside])) == len(set(HALVES[inside])) == 1


def test_without_aggregation_each_cell_is_by_itself() -> None:
    assert assign_pseudocells(NAMES, [AGES], "none", size=4, seed=0).tolist() == list(range(60))


def test_names_decide_not_places() -> None:
    moved = np.random.default_rng(0).permutation(60)
    cells = Cells(NAMES, AGES, SAMPLES, {"embedding": np.arange(120.0).reshape(60, 2)})
    dealt = assign_pseudocells(NAMES, [AGES, SAMPLES], "pseudocell", size=4, seed=0)
    again = assign_pseudocells(NAMES[moved], [AGES[moved], SAMPLES[moved]], "pseudocell", size=4, seed=0)
    np.testing.assert_array_equal(again, dealt[moved])
    one, other = cells.aggregate(dealt), cells.take(moved).aggregate(again)
    assert one.names.tolist() == other.names.tolist()
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_allclose(one.blocks["embedding"], other.blocks["embedding"])
    assert not np.array_equal(assign_pseudocells(NAMES, [AGES, SAMPLES], "pseudocell", size=4, seed=1), dealt)


def test_means_by_hand() -> None:
    counts = np.array([[0.0, 8], [2, 0], [5, 5]])
    blocks = {"embedding": np.array([[1.0], [2], [9]]), "expression": sp.csr_matrix(np.log1p(counts))}
    cells = Cells(np.array(["b", "a", "c"], dtype=object), np.array([5.0, 5, 9]), np.array(["x", "x", "y"]), blocks)
    averaged = cells.aggregate(np.array([0, 0, 1]))
    assert averaged.names.tolist() == ["a and 1 more", "c and 0 more"]
    assert averaged.ages.tolist() == [5, 9] and averaged.samples.tolist() == ["x", "y"]
    np.testing.assert_allclose(averaged.blocks["embedding"], [[1.5], [9]])
    np.testing.assert_allclose(averaged.blocks["expression"].toarray(), np.log1p([[1, 4], [5, 5]]))
    np.testing.assert_allclose(cells.blocks["expression"].toarray(), np.log1p(counts))  # left as it was


def test_the_order_of_mean_and_logarithm_matters() -> None:
    log = np.log1p(np.array([[0.0], [99]]))
    assert block_means("expression", sp.csr_matrix(log), np.zeros(2, int)).toarray() == pytest.approx(np.log1p(49.5))
    assert block_means("embedding", log, np.zeros(2, int)) == pytest.approx(log.mean())


def test_what_is_held_out() -> None:
    cells = Cells(NAMES, AGES, None, {})
    assert (cells.split, cells.n_samples) == ("cell", 0)
    np.testing.assert_array_equal(cells.units, NAMES)
    named = Cells(NAMES, AGES, SAMPLES, {})
    assert (named.split, named.n_samples) == ("sample", 4)
    np.testing.assert_array_equal(named.units, SAMPLES)
    assert cells.aggregate(np.zeros(60, int)).samples is None


@given(strata=st.lists(st.integers(0, 4), min_size=1, max_size=80), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_parts_never_mix_strata_and_are_of_nearly_one_size(strata: list[int], size: int, seed: int) -> None:
    codes = np.array(strata)
    order = np.random.default_rng(seed).permutation(len(codes))
    parts = split_strata(codes, order, size=size, seed=seed)
    assert parts.dtype == np.int64
    np.testing.assert_array_equal(np.unique(parts), np.arange(parts.max() + 1))
    of = {number: set(codes[parts == number]) for number in np.unique(parts)}
    assert all(len(one) == 1 for one in of.values())
    assert [min(of[number]) for number in sorted(of)] == sorted(min(one) for one in of.values())  # numbered by stratum
    for stratum in np.unique(codes):
        sizes = np.unique(parts[codes == stratum], return_counts=True)[1]
        assert np.ptp(sizes) <= 1
        assert len(sizes) == max(round(sizes.sum() / size), 1)


def test_one_part_a_stratum() -> None:
    strata = np.array([7, 3, 7, 3, 3])
    assert split_strata(strata, np.arange(5), size=None, seed=0).tolist() == [1, 0, 1, 0, 0]


def test_the_deal_is_of_cells_not_of_places() -> None:
    strata = np.repeat([0, 1], [40, 25])
    dealt = split_strata(strata, np.arange(65), size=6, seed=5)
    moved = np.random.default_rng(0).permutation(65)  # where each cell stands now
    np.testing.assert_array_equal(split_strata(strata[moved], np.argsort(moved), size=6, seed=5), dealt[moved])
    assert not np.array_equal(split_strata(strata, np.arange(65), size=6, seed=6), dealt)
    together = dealt[:-1] == dealt[1:]
    assert 0 < together.mean() < 0.4  # at random, not cells that stand side by side


@pytest.mark.parametrize("sparse", [False, True])
def test_row_means_by_hand(sparse: bool) -> None:
    x = np.array([[1.0, 0], [3, 0], [0, 8], [5, 4]])
    means = row_means(sp.csr_matrix(x) if sparse else x, np.array([1, 1, 0, 1]))
    assert sp.issparse(means) == sparse
    np.testing.assert_allclose(means.toarray() if sparse else means, [[0, 8], [3, 4 / 3]])
