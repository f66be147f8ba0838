"""How good predicted classes and their probabilities are, in all cells and in each sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scflyformer.stats._intervals import bootstrap_counts, unit_codes, unit_sums
from scflyformer.stats._sklearn import load_sklearn

if TYPE_CHECKING:
    from scipy import sparse

IMPOSSIBLE = -1e4
"""Logit of a class that a classifier has never seen."""


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return class probabilities, float64, of logits (n_cells, n_classes) divided by `temperature`."""
    from scipy.special import softmax as along

    return along(np.asarray(logits, dtype=np.float64) / temperature, axis=1)


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of equal entries."""
    return float(np.mean(np.asarray(truth) == np.asarray(predicted))) if len(truth) else float("nan")


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean over classes (those in the truth or predicted) of F1 = 2·TP / (true + predicted)."""
    load_sklearn()
    from sklearn.metrics import f1_score

    return float(f1_score(truth, predicted, average="macro", zero_division=0)) if len(truth) else float("nan")


def calibration_error(confidence: np.ndarray, correct: np.ndarray, *, n_bins: int = 15) -> float:
    """Return the expected calibration error: Σ over equal-width bins of |accuracy − confidence| × share (Guo 2017)."""
    if not len(confidence):
        return float("nan")
    bins = np.clip(np.ceil(np.asarray(confidence, np.float64) * n_bins).astype(int) - 1, 0, n_bins - 1)
    gap = np.bincount(bins, weights=np.asarray(correct, np.float64) - confidence, minlength=n_bins)
    return float(np.abs(gap).sum() / len(bins))


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature that gives `truth` the highest likelihood under ``softmax(logits / T)`` (Guo 2017).

    `logits` are held-out ones, (n_cells, n_classes). Cells whose class the classifier had never seen are left out.
    Between 0.05 and 20; 1 where nothing can be learnt.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    logits = np.asarray(logits, dtype=np.float64)
    known = logits[np.arange(len(truth)), truth] > IMPOSSIBLE / 2
    if known.sum() < 2:
        return 1.0
    logits, picked = logits[known], logits[known, np.asarray(truth)[known]]

    def loss(log_temperature: float) -> float:
        heat = np.exp(log_temperature)
        return float(np.mean(logsumexp(logits / heat, axis=1) - picked / heat))

    best = minimize_scalar(loss, bounds=np.log([0.05, 20.0]), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def accuracy_by_unit(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return :func:`accuracy` in each unit by itself, units sorted by name, shape (n_units,)."""
    codes, n_units = unit_codes(units, len(truth))
    right = (np.asarray(truth) == np.asarray(predicted)).astype(float)
    hits, cells = unit_sums(codes, n_units, right, np.ones(len(codes))).T
    return hits / cells


def macro_f1_by_unit(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the mean of F1 over the classes that a unit has, in each unit by itself, as :func:`accuracy_by_unit`.

    A class that is called in a unit which has none of it costs the recall of the class that it was taken for, and does
    not count as a class.
    """
    tables = _class_tables(truth, predicted, units)
    hits, true, called = (table.toarray() for table in tables)
    f1 = np.divide(2 * hits, true + called, out=np.zeros_like(hits), where=true > 0)
    return f1.sum(axis=1) / (true > 0).sum(axis=1)


def macro_f1_draws(
    truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None = None, *, n_boot: int = 1000, seed: int = 0
) -> np.ndarray:
    """Return :func:`macro_f1` in bootstrap resamples of whole units, shape (n_boot,); NaN with fewer than two units.

    Resamples depend on units and seed alone: the difference of the draws of two predictions is a paired bootstrap.
    """
    n_units = unit_codes(units, len(truth))[1]
    if n_units < 2:
        return np.full(n_boot, np.nan)
    hits, true, called = _class_tables(truth, predicted, units)
    both, draws = true + called, []
    for counts in bootstrap_counts(n_units, n_boot=n_boot, seed=seed):
        hit, all_ = 2 * (counts @ hits), counts @ both
        seen = all_ > 0
        f1 = np.divide(hit, all_, out=np.zeros_like(hit), where=seen)
        draws.append(f1.sum(axis=1) / seen.sum(axis=1))
    return np.concatenate(draws)


def _class_tables(
    truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None
) -> tuple[sparse.csr_matrix, sparse.csr_matrix, sparse.csr_matrix]:
    """Return how many cells of each unit are of each class and called so, are of it, are called so: units × classes."""
    from scipy import sparse

    codes, n_units = unit_codes(units, len(truth))
    classes, both = np.unique(np.concatenate([truth, predicted]), return_inverse=True)
    true, guess = both[: len(truth)], both[len(truth) :]

    def table(rows: np.ndarray, columns: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n_units, len(classes)))

    right = true == guess
    return table(codes[right], true[right]), table(codes, true), table(codes, guess)
