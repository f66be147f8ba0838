"""Pseudocells and pseudobulks of a clock: what goes into one, and what its features, name and age are."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scflyformer.clock._units import Cells, block_means, deal

NAMES = np.array([f"cell{n}" for n in range(60)], dtype=object)
SAMPLES = np.array([f"lib{n % 4}" for n in range(60)], dtype=object)
AGES = np.where(np.arange(60) % 4 < 2, 3.0, 30.0)
HALVES = np.arange(60) // 30


@pytest.mark.parametrize(("how", "n"), [("pseudocell", 8 * 2), ("pseudobulk", 8)])
def test_a_bundle_has_one_sample_one_age_and_one_fold(how: str, n: int) -> None:
    bundles = deal(NAMES, [HALVES, AGES, SAMPLES], how, size=4, seed=0)
    assert set(bundles) == set(range(n))
    for number in range(n):
        inside = bundles == number
        assert len(set(SAMPLES[inside])) == len(set(AGES[inside])) == len(set(HALVES[inside])) == 1


def test_without_aggregation_each_cell_is_by_itself() -> None:
    assert deal(NAMES, [AGES], "none", size=4, seed=0).tolist() == list(range(60))


def test_names_decide_not_places() -> None:
    moved = np.random.default_rng(0).permutation(60)
    cells = Cells(NAMES, AGES, SAMPLES, {"embedding": np.arange(120.0).reshape(60, 2)})
    dealt = deal(NAMES, [AGES, SAMPLES], "pseudocell", size=4, seed=0)
    again = deal(NAMES[moved], [AGES[moved], SAMPLES[moved]], "pseudocell", size=4, seed=0)
    np.testing.assert_array_equal(again, dealt[moved])
    one, other = cells.bundled(dealt), cells.take(moved).bundled(again)
    assert one.names.tolist() == other.names.tolist()
    np.testing.assert_array_equal(one.samples, other.samples)
    np.testing.assert_allclose(one.blocks["embedding"], other.blocks["embedding"])
    assert not np.array_equal(deal(NAMES, [AGES, SAMPLES], "pseudocell", size=4, seed=1), dealt)


def test_means_by_hand() -> None:
    counts = np.array([[0.0, 8], [2, 0], [5, 5]])
    blocks = {"embedding": np.array([[1.0], [2], [9]]), "expression": sp.csr_matrix(np.log1p(counts))}
    cells = Cells(np.array(["b", "a", "c"], dtype=object), np.array([5.0, 5, 9]), np.array(["x", "x", "y"]), blocks)
    bundled = cells.bundled(np.array([0, 0, 1]))
    assert bundled.names.tolist() == ["a and 1 more", "c and 0 more"]
    assert bundled.ages.tolist() == [5, 9] and bundled.samples.tolist() == ["x", "y"]
    np.testing.assert_allclose(bundled.blocks["embedding"], [[1.5], [9]])
    np.testing.assert_allclose(bundled.blocks["expression"].toarray(), np.log1p([[1, 4], [5, 5]]))
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
    assert cells.bundled(np.zeros(60, int)).samples is None
