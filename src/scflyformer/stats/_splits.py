"""Folds for cross-validation: whole samples where samples are known, cells otherwise.

A fold assignment is an int64 array with one fold number per cell; every cell is tested exactly once.
"""

from __future__ import annotations

import numpy as np


def sample_folds(
    samples: np.ndarray,
    *,
    values: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    n_splits: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Return the fold of each cell, int64, whole samples together; no fold is empty.

    With `values`, a number per cell (an age), samples of one value go to different folds, and each fold spans the
    range; a sample counts with its mean. Else with `labels`, a class code per cell, folds get about the same mix of
    classes. There are never more folds than samples. `seed` orders equals.
    """
    names, sample = np.unique(np.asarray(samples).astype(str), return_inverse=True)
    n_splits = _checked(n_splits, len(names), "samples")
    if values is not None:
        mean = np.bincount(sample, weights=np.asarray(values, dtype=np.float64)) / np.bincount(sample)
        return cell_folds(mean, n_splits=n_splits, seed=seed)[sample]
    if labels is not None:
        codes = np.unique(labels, return_inverse=True)[1]
    else:
        codes = np.zeros(len(sample), dtype=np.int64)
    table = np.zeros((len(names), codes.max() + 1))
    np.add.at(table, (sample, codes), 1)
    return _balanced(table, n_splits, seed)[sample]


def cell_folds(strata: np.ndarray, *, n_splits: int = 5, seed: int = 0) -> np.ndarray:
    """Return the fold of each cell, int64, every stratum (a class, an age) spread evenly.

    The counts of a stratum in two folds differ by at most one. Cells are dealt out in the order of the strata, random
    within equals, so that a continuous number is spread as well. There are never more folds than cells.
    """
    strata = np.asarray(strata)
    n_splits = _checked(n_splits, len(strata), "cells")
    codes = np.unique(strata, return_inverse=True)[1]
    order = np.lexsort((np.random.default_rng(seed).random(len(strata)), codes))
    folds = np.empty(len(strata), dtype=np.int64)
    folds[order] = np.arange(len(strata)) % n_splits
    return folds


def _checked(n_splits: int, n_units: int, what: str) -> int:
    if n_splits < 2:
        raise ValueError(f"n_splits is {n_splits}; cross-validation needs at least 2 folds.")
    if n_units < 2:
        raise ValueError(f"Cross-validation needs at least 2 {what}; got {n_units}.")
    return min(n_splits, n_units)


def _balanced(table: np.ndarray, n_splits: int, seed: int) -> np.ndarray:
    """Deal samples (rows of a sample × class table of counts) to folds, the most uneven first.

    The rule of scikit-learn's `StratifiedGroupKFold`: each sample goes where the standard deviation over folds of the
    classes' shares stays lowest; here no fold is left empty.
    """
    n_samples = len(table)
    shuffled = np.random.default_rng(seed).permutation(n_samples)
    order = shuffled[np.argsort(-table[shuffled].std(axis=1), kind="stable")]
    share = table / table.sum(axis=0)
    held = np.zeros((n_splits, table.shape[1]))
    size = np.zeros(n_splits)
    folds = np.empty(n_samples, dtype=np.int64)
    used: set[int] = set()
    for done, sample in enumerate(order):
        empty = [fold for fold in range(n_splits) if fold not in used]
        choices = empty if n_samples - done <= len(empty) else range(n_splits)
        costs = []
        for fold in choices:
            held[fold] += share[sample]
            costs.append((held.std(axis=0).mean(), size[fold], fold))
            held[fold] -= share[sample]
        best = min(costs)[2]
        held[best] += share[sample]
        size[best] += table[sample].sum()
        folds[sample] = best
        used.add(best)
    return folds
