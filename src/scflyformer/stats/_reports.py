"""Scores gathered into rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scflyformer.stats import _classification as classes
from scflyformer.stats import _regression as numbers
from scflyformer.stats._intervals import percentile_interval


@dataclass(frozen=True, eq=False)
class NumberScores:
    """Scores of predicted numbers: ``r2``, ``mae``, ``spearman``."""

    values: dict[str, float]
    draws: dict[str, np.ndarray]  # the same of each bootstrap resample, (n_boot,) or empty

    def row(self) -> dict[str, float]:
        """Return the scores, each with ``_low`` and ``_high`` (95 % interval)."""
        out: dict[str, float] = {}
        for name, value in self.values.items():
            low, high = percentile_interval(self.draws[name])
            out |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return out

    def gain(self, name: str, other: NumberScores) -> tuple[float, float, float]:
        """Return the score less that of predictions of the same cells, and its 95 % interval, resamples paired."""
        mine, theirs = self.draws[name], other.draws[name]
        interval = percentile_interval(mine - theirs) if len(mine) == len(theirs) else (float("nan"), float("nan"))
        return self.values[name] - other.values[name], *interval


def number_scores(
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    *,
    target_truth: np.ndarray,
    target_predicted: np.ndarray,
    ordered: bool = True,
    n_boot: int = 1000,
    seed: int = 0,
) -> NumberScores:
    """Score predicted numbers, with resamples of whole `units`: the sample, or the name, of each cell.

    The mean absolute error is taken of `truth` and `predicted`, in the unit they are reported in; R² of `target_truth`
    and `target_predicted`, on the scale that was fitted (such as log2(days + 1)). `ordered` says whether the
    predictions differ within a fold: a constant per fold has no rank correlation.
    """
    rank = numbers.spearman_draws(truth, predicted, units, n_boot=n_boot, seed=seed) if ordered else np.empty(0)
    return NumberScores(
        {
            "r2": numbers.r2(target_truth, target_predicted),
            "mae": numbers.mae(truth, predicted),
            "spearman": numbers.spearman(truth, predicted) if ordered else float("nan"),
        },
        {
            "r2": numbers.r2_draws(target_truth, target_predicted, units, n_boot=n_boot, seed=seed),
            "mae": numbers.mae_draws(truth, predicted, units, n_boot=n_boot, seed=seed),
            "spearman": rank,
        },
    )


def calibrated(logits: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, float]:
    """Turn out-of-fold logits into probabilities whose temperature comes from the other folds.

    Returned with the temperature from all cells, for new cells.
    """
    out = np.empty_like(logits, dtype=np.float64)
    for fold in np.unique(folds):
        held = folds == fold
        out[held] = classes.softmax(logits[held], classes.fit_temperature(logits[~held], truth[~held]))
    return out, classes.fit_temperature(logits, truth)


def class_scores(
    truth: np.ndarray,
    probability: np.ndarray,
    units: np.ndarray,
    *,
    covered: np.ndarray,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Score class probabilities, with resamples of whole `units`: the sample, or the name, of each cell.

    ``accuracy`` and ``macro_f1`` are those before abstaining, each with ``_low`` and ``_high`` (95 % interval);
    ``ece``; ``coverage`` is the share of cells that get a label (`covered`), and ``accuracy_covered`` the accuracy
    among them.
    """
    best = probability.argmax(axis=1)
    score = probability.max(axis=1)
    accuracy = percentile_interval(classes.accuracy_draws(truth, best, units, n_boot=n_boot, seed=seed))
    f1 = percentile_interval(classes.macro_f1_draws(truth, best, units, n_boot=n_boot, seed=seed))
    return {
        "accuracy": classes.accuracy(truth, best),
        "accuracy_low": accuracy[0],
        "accuracy_high": accuracy[1],
        "macro_f1": classes.macro_f1(truth, best),
        "macro_f1_low": f1[0],
        "macro_f1_high": f1[1],
        "ece": classes.calibration_error(score, best == truth),
        "coverage": float(covered.mean()),
        "accuracy_covered": classes.accuracy(truth[covered], best[covered]),
    }


def class_gains(
    truth: np.ndarray,
    best: np.ndarray,
    other: np.ndarray | None,
    units: np.ndarray,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Score predicted classes less others, `other`, of the same cells; all NaN without them.

    ``accuracy_gain`` and ``macro_f1_gain``, each with ``_low`` and ``_high`` (95 % bootstrap interval, paired by
    `units`).
    """
    out: dict[str, float] = {}
    measures: dict[str, tuple[Any, Any]] = {
        "accuracy": (classes.accuracy, classes.accuracy_draws),
        "macro_f1": (classes.macro_f1, classes.macro_f1_draws),
    }
    for name, (value, draws) in measures.items():
        gain = low = high = float("nan")
        if other is not None:
            gain = value(truth, best) - value(truth, other)
            mine, theirs = (draws(truth, codes, units, n_boot=n_boot, seed=seed) for codes in (best, other))
            low, high = percentile_interval(mine - theirs)
        out |= {f"{name}_gain": gain, f"{name}_gain_low": low, f"{name}_gain_high": high}
    return out


def verdict(low: float, high: float) -> str:
    """Return "above", "below" or "cannot be told from", as the interval of a gain lies beside 0."""
    if low > 0:
        return "above"
    return "below" if high < 0 else "cannot be told from"


def gain_words(row: Mapping[Any, Any], score: str) -> tuple[str, str]:
    """Return the :func:`verdict` on a row's gain in a score (``_gain``, ``_gain_low``, ``_gain_high``) and the gain."""
    gain, low, high = (float(row[f"{score}_gain{end}"]) for end in ("", "_low", "_high"))
    return verdict(low, high), f"{gain:+.3f}, 95 % {low:+.3f} to {high:+.3f}"


def per_class_scores(truth: np.ndarray, best: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
    """Return ``n_cells``, ``recall``, ``precision`` and ``f1`` of each class, each of shape (n_classes,).

    NaN where a class has no cells (recall) or is never predicted (precision).
    """
    hits = np.bincount(truth[truth == best], minlength=n_classes).astype(np.float64)
    true, called = np.bincount(truth, minlength=n_classes), np.bincount(best, minlength=n_classes)
    with np.errstate(invalid="ignore"):
        return {
            "n_cells": true,
            "recall": hits / true,
            "precision": hits / called,
            "f1": 2 * hits / (true + called),
        }
