"""Scores gathered into rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scflyformer.stats import _classification as classes
from scflyformer.stats import _regression as numbers
from scflyformer.stats._intervals import MIN_UNITS, gain_interval, percentile_interval, t_interval

_BOUNDS = {"r2": (-np.inf, 1.0), "mae": (0.0, np.inf), "spearman": (-1.0, 1.0), "accuracy": (0.0, 1.0)}
"""Between which values a score can lie: no interval reaches beyond them."""

_ENDS = ("", "_low", "_high", "_least", "_most")
"""Ends of the names of a gain, its interval, and its extremes over samples."""


@dataclass(frozen=True, eq=False)
class NumberScores:
    """Scores of predicted numbers: ``r2``, ``mae``, ``spearman``.

    Attributes
    ----------
    values
        The scores.
    parts
        Of each score, what each unit (a sample, or a cell) contributes, shape (n_units,); their mean is the score.
    spread
        The same for the interval of the score itself, where it is not that of the parts.
    """

    values: dict[str, float]
    parts: dict[str, np.ndarray]
    spread: dict[str, np.ndarray] = field(default_factory=dict)

    def row(self) -> dict[str, float]:
        """Return the scores, each with ``_low`` and ``_high`` (95 % t interval over units)."""
        out: dict[str, float] = {}
        for name, value in self.values.items():
            low, high = np.clip(t_interval(self.spread.get(name, self.parts[name])), *_BOUNDS[name])
            out |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
        return out

    def gain(self, name: str, other: NumberScores) -> tuple[float, float, float]:
        """Return the score less that of predictions of the same cells, and its 95 % t interval over units, paired.

        The interval is NaN with fewer than three units.
        """
        mine, theirs = self.parts[name], other.parts[name]
        interval = gain_interval(mine - theirs) if len(mine) == len(theirs) else (float("nan"), float("nan"))
        return self.values[name] - other.values[name], *interval


def number_scores(
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray,
    *,
    target_truth: np.ndarray,
    target_predicted: np.ndarray,
    ordered: bool = True,
) -> NumberScores:
    """Score predicted numbers, with the parts of whole `units`: the sample, or the name, of each cell.

    The mean absolute error is taken of `truth` and `predicted`, in the unit they are reported in; R² of `target_truth`
    and `target_predicted`, on the scale that was fitted (such as log2(days + 1)). `ordered` says whether the
    predictions differ within a fold: a constant per fold has no rank correlation.
    """
    nothing = np.full(len(np.unique(np.asarray(units).astype(str))), np.nan)
    return NumberScores(
        {
            "r2": numbers.r2(target_truth, target_predicted),
            "mae": numbers.mae(truth, predicted),
            "spearman": numbers.spearman(truth, predicted) if ordered else float("nan"),
        },
        {
            "r2": numbers.r2_parts(target_truth, target_predicted, units),
            "mae": numbers.mae_parts(truth, predicted, units),
            "spearman": numbers.spearman_parts(truth, predicted, units) if ordered else nothing,
        },
        {"spearman": numbers.spearman_influence(truth, predicted, units) if ordered else nothing},
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
    """Score class probabilities of cells of whole `units`: the sample, or the name, of each cell.

    ``accuracy`` and ``macro_f1`` are those of all cells before abstaining, each with ``_low`` and ``_high``: a 95 % t
    interval over units of the first, a 95 % bootstrap interval over units of the second, which is rough with few.
    ``ece``; ``coverage`` is the share of cells that get a label (`covered`), and ``accuracy_covered`` the accuracy
    among them.
    """
    best = probability.argmax(axis=1)
    score = probability.max(axis=1)
    accuracy = np.clip(t_interval(numbers.mean_parts(best == truth, units)), *_BOUNDS["accuracy"])
    f1 = percentile_interval(classes.macro_f1_draws(truth, best, units, n_boot=n_boot, seed=seed))
    return {
        "accuracy": classes.accuracy(truth, best),
        "accuracy_low": float(accuracy[0]),
        "accuracy_high": float(accuracy[1]),
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
    samples: np.ndarray | None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Score predicted classes less others, `other`, of the same cells; all NaN without them.

    ``accuracy_gain`` and ``macro_f1_gain``, each with ``_low`` and ``_high`` (95 % interval) and ``_least`` and
    ``_most``. With `samples` a gain is the mean over samples of the gain in each, every sample counting alike, so that
    it differs a little from the difference of the scores of all cells; macro-F1 in a sample is over the classes that
    it has. The interval is Student's t over the samples' gains, NaN with fewer than three, and ``_least`` and ``_most``
    are the lowest and the highest of them. Without samples it is the difference of the scores, with an interval for
    which cells count as independent: Student's t of the accuracy, a paired bootstrap of macro-F1.
    """
    ends = [
        f"{name}_gain{end}" for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high", "_least", "_most")
    ]
    out = dict.fromkeys(ends, float("nan"))
    if other is None:
        return out
    found: dict[str, tuple[float, ...]] = {}
    if samples is None:
        right = numbers.mean_parts(best == truth) - numbers.mean_parts(other == truth)
        mine, theirs = (classes.macro_f1_draws(truth, codes, n_boot=n_boot, seed=seed) for codes in (best, other))
        f1 = classes.macro_f1(truth, best) - classes.macro_f1(truth, other)
        found["accuracy"] = float(right.mean()), *gain_interval(right)
        found["macro_f1"] = f1, *percentile_interval(mine - theirs)
    else:
        for name, by_unit in (("accuracy", classes.accuracy_by_unit), ("macro_f1", classes.macro_f1_by_unit)):
            gains = by_unit(truth, best, samples) - by_unit(truth, other, samples)
            found[name] = float(gains.mean()), *gain_interval(gains), float(gains.min()), float(gains.max())
    for name, values in found.items():
        out |= {f"{name}_gain{end}": value for end, value in zip(_ENDS, values, strict=False)}
    return out


def verdict(low: float, high: float) -> str:
    """Return "above", "below" or "cannot be told from", as the interval of a gain lies beside 0; NaN lies nowhere."""
    if low > 0:
        return "above"
    return "below" if high < 0 else "cannot be told from"


def gain_sentence(name: str, row: Mapping[Any, Any], scores: Mapping[str, str]) -> str:
    """Say how the feature set ``name`` compares with that of a row, by its gain in each score.

    With one or two samples nothing can be told, whatever the gain; those of the samples are given.

    Parameters
    ----------
    row
        Has the other's name as ``features``, the number of samples as ``n_samples`` (0 where none are named) and, by
        score, ``_gain``, ``_gain_low``, ``_gain_high`` and, where there are two samples, ``_gain_least`` and
        ``_gain_most``.
    scores
        Words for each score, in the order of the sentence.
    """
    parts: list[str] = []
    n_samples = int(row["n_samples"])
    few = 0 < n_samples < MIN_UNITS
    for score, words in scores.items():
        gain, low, high = (float(row[f"{score}_gain{end}"]) for end in ("", "_low", "_high"))
        other = "it" if parts else row["features"]
        if not few:
            parts.append(f"{verdict(low, high)} {other} in {words} ({gain:+.3f}, 95 % {low:+.3f} to {high:+.3f})")
            continue
        both = [float(row.get(f"{score}_gain{end}", np.nan)) for end in ("_least", "_most")]
        each = f"; in its two samples {both[0]:+.3f} and {both[1]:+.3f}" if n_samples == 2 else ""
        parts.append(f"cannot be told from {other} in {words} ({gain:+.3f}{each})")
    return f"{name} {'; '.join(parts)}"


def gain_caveat(n_samples: int) -> list[str]:
    """Return what sentences on gains in so many samples leave open (0 where none are named): a sentence, or none."""
    if n_samples == 0:
        return ["cells were resampled and count as independent, which says nothing of another sample"]
    few = n_samples < MIN_UNITS
    return [f"{n_samples} sample{'s' * (n_samples > 1)} cannot tell, {MIN_UNITS} or more can"] * few


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
