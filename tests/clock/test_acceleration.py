"""The difference between levels is found where it was planted, and a p-value means what it says where there is none."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kstest, ttest_ind

from scflyformer.clock._acceleration import level_difference, straight_line

AGES = np.log2(np.array([0.0, 3, 10, 30]) + 1)


def _crossed(per_age: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Ages and levels of samples, each age with `per_age` samples of two levels."""
    return np.repeat(AGES, 2 * per_age), np.tile(np.repeat([0, 1], per_age), len(AGES))


def _apart() -> tuple[np.ndarray, np.ndarray]:
    """Two levels that share no age, the second older on the whole."""
    ages = np.log2(np.array([0.0, 3, 10, 30, 1, 6, 15, 50, 50]) + 1)
    return ages, np.repeat([0, 1], [4, 5])


def test_line() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 20))
    assert straight_line(x, y) == pytest.approx(np.polyfit(x, y, 1))
    assert np.isnan(straight_line(np.full(5, 3.7), y[:5])).all()


def test_a_planted_shift_is_found_whatever_the_line() -> None:
    """Predictions are drawn to the mean, and bent; within ages neither matters."""
    ages, levels = _crossed()
    rng = np.random.default_rng(0)
    values = 2 + 0.4 * ages + 0.1 * ages**2 + 0.5 * levels + rng.normal(0, 0.1, len(ages))
    found = level_difference(values, ages, levels, 0, 1)
    assert found.low < 0.5 < found.high and found.value == pytest.approx(0.5, abs=0.15)
    assert found.p_value <= 1e-3 and (found.n_first, found.n_second) == (12, 12)
    assert found.shared == pytest.approx(AGES)
    back = level_difference(values, ages, levels, 1, 0)
    assert back.value == pytest.approx(-found.value) and back.low == pytest.approx(-found.high)


def test_one_age_is_a_t_interval_and_an_exact_permutation() -> None:
    """Against scipy and a loop over all orders."""
    values = np.random.default_rng(1).normal(size=7)
    levels = np.array([0, 0, 0, 1, 1, 1, 1])
    found = level_difference(values, np.ones(7), levels, 0, 1)
    wanted = ttest_ind(values[levels == 1], values[levels == 0]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    shuffled = np.array([values[list(order)] for order in permutations(range(7))])
    null = shuffled[:, levels == 1].mean(1) - shuffled[:, levels == 0].mean(1)
    assert found.p_value == pytest.approx(np.mean(np.abs(null) >= abs(found.value) - 1e-12))
    assert found.n_permutations == 35


def test_ages_that_one_level_lacks_do_not_count() -> None:
    ages, levels = np.array([1.0, 1, 1, 2, 2, 3, 3]), np.array([0, 0, 1, 0, 1, 1, 1])
    values = np.array([0.0, 0.2, 1, 5, 6, 70, 80])
    found = level_difference(values, ages, levels, 0, 1)
    assert found.value == pytest.approx((2 / 3 * 0.9 + 1 / 2 * 1) / (2 / 3 + 1 / 2))
    assert (found.n_first, found.n_second) == (3, 2) and found.shared.tolist() == [1, 2]
    assert found.n_permutations == 6 and found.p_value >= 1 / 6


def test_one_sample_each_has_no_interval() -> None:
    found = level_difference(np.array([1.0, 2]), np.array([3.0, 3]), np.array([0, 1]), 0, 1)
    assert found.value == pytest.approx(1, rel=1e-9) and np.isnan([found.low, found.high]).all() and found.p_value == 1


@pytest.mark.parametrize("reference", [None, 0, 1])
def test_levels_that_share_no_age_are_compared_along_the_line(reference: int | None) -> None:
    """Exact for parallel lines, though the second level is older; a line through all samples would halve the shift."""
    ages, levels = _apart()
    values = 1 + 0.6 * ages + 0.8 * levels
    found = level_difference(values, ages, levels, 0, 1, reference=reference)
    assert found.value == pytest.approx(0.8) and found.p_value < 0.01 and not len(found.shared)
    noisy = level_difference(values + np.random.default_rng(0).normal(0, 0.1, 9), ages, levels, 0, 1)
    assert noisy.low < 0.8 < noisy.high and noisy.p_value < 0.02


def test_a_third_level_gives_the_slope() -> None:
    """Levels of one age each can be compared where a reference has two."""
    ages, levels = np.array([0.0, 1, 2, 3, 0.5, 0.5, 2.5, 2.5]), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    values = 0.5 * ages + np.where(levels == 2, 1.0, 0.0) + 0.01 * np.array([1, -1, 1, -1, 1, -1, 1, -1])
    found = level_difference(values, ages, levels, 1, 2, reference=0)
    assert found.value == pytest.approx(1, abs=0.05) and found.low < 1 < found.high
    alone = level_difference(values[4:], ages[4:], levels[4:], 1, 2)
    assert np.isnan([alone.value, alone.low, alone.p_value]).all() and alone.n_permutations == 0


@pytest.mark.parametrize("design", ["crossed", "unequal", "apart"])
def test_without_a_difference_p_values_are_uniform(design: str) -> None:
    """Over 200 tables: neither too small, nor useless; the interval holds 0 in some 95 of 100."""
    ages, levels = _apart() if design == "apart" else _crossed()
    if design == "unequal":
        keep = np.r_[0:4, 6:7, 9:12, 15:24]
        ages, levels = ages[keep], levels[keep]
    rng = np.random.default_rng(5)
    found = [
        level_difference(1 + 0.5 * ages + rng.normal(0, 0.3, len(ages)), ages, levels, 0, 1, seed=n) for n in range(200)
    ]
    p_values = np.array([one.p_value for one in found])
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(p_values <= 0.05) <= 0.1
    assert 0.9 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.99


def test_the_seed_decides() -> None:
    ages, levels = _crossed()
    values = np.random.default_rng(0).normal(size=len(ages))
    first, again, other = (level_difference(values, ages, levels, 0, 1, seed=seed).p_value for seed in (0, 0, 1))
    assert first == again != other and first == pytest.approx(other, abs=0.05)
