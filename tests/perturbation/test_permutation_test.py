"""p-values and false discoveries from permuted samples are what they say, also where genes depend on each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.perturbation._permutation_test import (
    SPREAD,
    permutation_p_values,
    permuted_shifts,
    scan_false_discoveries,
)

N_SAMPLES, N_PERMUTATIONS = 12, 199


def shifts_of(values: np.ndarray, random: np.random.Generator, n: int = N_PERMUTATIONS) -> np.ndarray:
    """Return differences between the halves of the samples, first as they are, then dealt anew, by gene."""
    sign = np.repeat([-1.0, 1.0], values.shape[1] // 2)
    signs = np.stack([sign, *(random.permutation(sign) for _ in range(n))])
    return signs @ values.T / len(sign)


def draw(
    random: np.random.Generator, n_genes: int, *, common: float, planted: int = 0, effect: float = 0.0
) -> np.ndarray:
    """Return shifts of genes whose values share ``common`` of their variance; the first are ``planted``.

    ``effect`` is half the distance between the states, in standard deviations within them.
    """
    shared = random.normal(size=(3, N_SAMPLES))
    loading = random.normal(size=(n_genes, 3)) / np.sqrt(3)
    values = np.sqrt(common) * loading @ shared + np.sqrt(1 - common) * random.normal(size=(n_genes, N_SAMPLES))
    values[:planted] += effect * np.repeat([-1.0, 1.0], N_SAMPLES // 2)
    values *= np.exp(0.3 * random.normal(size=(n_genes, 1)))  # genes move cells more or less
    return shifts_of(values, random)


def test_shifts_are_means_over_the_samples_that_have_the_gene() -> None:
    random = np.random.default_rng(0)
    dots, weights = random.normal(size=(4, 3, 5)), random.normal(size=(6, 3, 5))
    dots[1, 2] = dots[2, :2] = dots[3] = np.nan
    found = permuted_shifts(dots, weights)
    assert found.shape == (6, 4) and np.isnan(found[:, 3]).all()
    for gene, samples in enumerate(([0, 1, 2], [0, 1], [2])):
        for number in range(6):
            expected = np.mean([dots[gene, sample] @ weights[number, sample] for sample in samples])
            assert found[number, gene] == pytest.approx(expected)


def test_p_values_count_permutations_as_far_from_0() -> None:
    shifts = np.array([[2.0, -3.0, np.nan, 0.0], [-2.0, 1.0, 1.0, 0.0], [1.0, 4.0, 1.0, 0.0], [2.1, 0.0, 1.0, 0.0]])
    found = permutation_p_values(shifts)
    np.testing.assert_allclose(found[[0, 1, 3]], [3 / 4, 2 / 4, 1])
    assert np.isnan(found[2])


@pytest.mark.parametrize("common", [0.0, 0.6])
def test_p_values_are_uniform_and_none_is_too_small(common: float) -> None:
    random = np.random.default_rng(0)
    one_of_each = [permutation_p_values(draw(random, 3, common=common))[0] for _ in range(600)]
    assert stats.kstest(one_of_each, "uniform").pvalue > 0.01
    assert np.mean(np.array(one_of_each) <= 0.05) == pytest.approx(0.05, abs=0.02)
    sure = permutation_p_values(draw(random, 50, common=common, planted=50, effect=50.0))
    assert (sure >= 1 / (1 + N_PERMUTATIONS)).all() and sure.min() < 0.02


def false_discoveries(shifts: np.ndarray) -> np.ndarray:
    """Return what the docstring says, with loops."""
    spread = shifts.std(0)
    effects = np.abs(shifts) / (spread + np.quantile(spread, SPREAD))

    def shares(truth: np.ndarray) -> np.ndarray:
        """Share of false discoveries down to each gene, were these the effects in truth."""
        down_to = []
        for least in truth:
            down_to.append((effects >= least * (1 - 1e-9)).sum(1).mean() / (truth >= least * (1 - 1e-9)).sum())
        return np.array(down_to)

    every = [shares(each) for each in effects]
    whole = np.mean([each.min() <= every[0].min() * (1 + 1e-9) for each in every])
    smallest = [every[0][effects[0] <= effect].min() for effect in effects[0]]
    return np.clip(smallest, whole, 1)


@pytest.mark.parametrize(("planted", "seed"), [(0, 0), (0, 1), (5, 2), (20, 3)])
def test_false_discoveries_equal_a_loop(planted: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    shifts = draw(random, 40, common=0.3, planted=planted, effect=3.0)[:60]
    np.testing.assert_allclose(scan_false_discoveries(shifts), false_discoveries(shifts))


def test_what_is_not_known_is_left_out() -> None:
    shifts = draw(np.random.default_rng(0), 30, common=0.0, planted=4, effect=4.0)
    some = shifts.copy()
    some[0, 7] = some[5, 11] = np.nan
    found = scan_false_discoveries(some)
    kept = np.setdiff1d(np.arange(30), [7, 11])
    assert np.isnan(found[[7, 11]]).all()
    np.testing.assert_allclose(found[kept], scan_false_discoveries(shifts[:, kept]))
    assert np.isnan(scan_false_discoveries(np.full((5, 3), np.nan))).all()
    assert np.isnan(scan_false_discoveries(np.zeros((5, 3)))).all()


def test_genes_that_stand_out_further_have_no_larger_share() -> None:
    shifts = draw(np.random.default_rng(4), 100, common=0.3, planted=10, effect=3.0)
    spread = shifts.std(0)
    order = np.argsort(-np.abs(shifts[0]) / (spread + np.quantile(spread, SPREAD)))
    found = scan_false_discoveries(shifts)
    assert (np.diff(found[order]) >= 0).all() and found.min() >= 1 / len(shifts) and found.max() <= 1
    np.testing.assert_allclose(scan_false_discoveries(shifts * 7), found)
    np.testing.assert_allclose(scan_false_discoveries(-shifts), found)


@pytest.mark.parametrize("common", [0.0, 0.5, 0.95])
def test_scans_with_nothing_to_find_call_as_often_as_was_asked(common: float) -> None:
    """Whether genes are independent or nearly one."""
    random, n = np.random.default_rng(1), 400
    calling = sum((scan_false_discoveries(draw(random, 80, common=common)) <= 0.05).any() for _ in range(n))
    assert calling <= stats.binom(n, 0.05).ppf(0.99)
    assert calling >= stats.binom(n, 0.05).ppf(0.0005)  # nor are scans silent


@pytest.mark.parametrize("common", [0.0, 0.4])
@pytest.mark.parametrize(("effect", "recall", "least"), [(1.0, 0.25, 0.01), (2.0, 0.85, 0.0)])
def test_planted_genes_are_found_with_no_more_false_discoveries_than_asked_for(
    common: float, effect: float, recall: float, least: float
) -> None:
    """Where genes stand out clearly false discoveries are rarer: planted genes' own permutations count as false."""
    random, rows = np.random.default_rng(2), []
    for _ in range(60):
        called = scan_false_discoveries(draw(random, 300, common=common, planted=30, effect=effect)) <= 0.05
        rows.append({"recall": called[:30].mean(), "false": called[30:].sum() / max(called.sum(), 1)})
    table = pd.DataFrame(rows)
    assert table["recall"].mean() > recall
    assert least < table["false"].mean() < 0.05 + 2 * table["false"].sem()


def test_steady_genes_of_small_shifts_are_not_called() -> None:
    """A shift is measured by the spread of the genes that vary most, besides its own."""
    shifts = draw(np.random.default_rng(5), 100, common=0.0, planted=10, effect=4.0)
    shifts[:, :5] /= 100
    called = scan_false_discoveries(shifts) <= 0.05
    assert not called[:5].any() and called[5:10].all()
    assert (permutation_p_values(shifts)[:5] < 0.05).all()
