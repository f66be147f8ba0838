"""Folds hold whole samples, spread ages and classes, and test every cell once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.stats._splits import cell_folds, sample_folds


def _samples(seed: int, n_samples: int, n_cells: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([np.arange(n_samples), rng.integers(0, n_samples, n_cells)]).astype(str)


@given(seed=st.integers(0, 1000), n_samples=st.integers(2, 12), n_splits=st.integers(2, 8), kind=st.integers(0, 2))
def test_whole_samples_in_non_empty_folds(seed: int, n_samples: int, n_splits: int, kind: int) -> None:
    samples = _samples(seed, n_samples)
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, n_samples)[samples.astype(int)].astype(float) if kind == 1 else None
    labels = rng.integers(0, 5, len(samples)) if kind == 2 else None
    folds = sample_folds(samples, values=values, labels=labels, n_splits=n_splits, seed=seed)
    assert all(len(np.unique(folds[samples == name])) == 1 for name in np.unique(samples))
    assert set(folds) == set(range(min(n_splits, n_samples)))


@given(seed=st.integers(0, 1000), per_age=st.integers(1, 5))
def test_samples_of_one_age_go_to_different_folds(seed: int, per_age: int) -> None:
    ages = np.repeat([0.0, 3, 6, 9, 30], per_age)
    cells = np.repeat(np.arange(len(ages)), 7)
    folds = sample_folds(cells, values=ages[cells], n_splits=5, seed=seed)[::7]
    for age in np.unique(ages):
        assert len(set(folds[ages == age])) == per_age


def test_fold_labels_are_as_balanced_as_sklearns() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(20), 50)
    labels = np.array([rng.choice(6, p=p) for p in np.repeat(rng.dirichlet(np.ones(6), 20), 50, axis=0)])

    def imbalance(folds: np.ndarray) -> float:
        table = np.stack([np.bincount(labels[folds == fold], minlength=6) for fold in range(5)])
        return float((table / table.sum(axis=0)).std(axis=0).mean())

    theirs = np.empty(len(samples), int)
    for fold, (_, test) in enumerate(StratifiedGroupKFold(5).split(labels, labels, samples)):
        theirs[test] = fold
    assert imbalance(sample_folds(samples, labels=labels)) <= imbalance(theirs) * 1.05


@given(seed=st.integers(0, 1000), n_splits=st.integers(2, 6))
def test_cell_folds_spread_each_class(seed: int, n_splits: int) -> None:
    strata = np.random.default_rng(seed).choice(["a", "b", "c/d"], 100)
    folds = cell_folds(strata, n_splits=n_splits, seed=seed)
    for stratum in np.unique(strata):
        counts = np.bincount(folds[strata == stratum], minlength=n_splits)
        assert np.ptp(counts) <= 1


def test_the_seed_decides() -> None:
    samples = _samples(0, 10)
    ages = samples.astype(int) % 2.0
    first = sample_folds(samples, values=ages, seed=1)
    np.testing.assert_array_equal(first, sample_folds(samples, values=ages, seed=1))
    assert any((first != sample_folds(samples, values=ages, seed=seed)).any() for seed in range(2, 6))


def test_too_few() -> None:
    with pytest.raises(ValueError, match="at least 2 samples; got 1"):
        sample_folds(np.array(["a", "a"]))
    with pytest.raises(ValueError, match="n_splits is 1"):
        cell_folds(np.arange(5), n_splits=1)
