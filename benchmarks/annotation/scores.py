"""How good labels, their probabilities and their silence are; each score first as it is, then in every resample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..lib.resamples import Resamples

N_BINS = 15
PRECISION = 0.95
COVERAGE = f"coverage at {100 * PRECISION:.0f} % precision"


def label_scores(
    draws: Resamples, truth: np.ndarray, predicted: np.ndarray, score: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the scores of predicted class codes, with the probability of each."""
    right = (truth == predicted).astype(float)
    return {
        "accuracy": draws.mean(right),
        "macro-F1": draws.macro_f1(truth, predicted),
        "ECE": calibration_error(draws, score, right),
        COVERAGE: coverage(draws, score, right),
    }


def calibration_error(draws: Resamples, score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the expected calibration error over 15 equal bins, as `stats._classification` has it."""
    bins = np.clip(np.ceil(np.asarray(score, dtype=np.float64) * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    gaps = [np.where(bins == number, right - score, 0.0) for number in np.unique(bins)]
    *found, total = draws.sums(*gaps, np.ones(len(score)))
    return np.abs(found).sum(axis=0) / total


def coverage(draws: Resamples, score: np.ndarray, right: np.ndarray, precision: float = PRECISION) -> np.ndarray:
    """Return the largest share of cells, taken by descending score, of which ``precision`` are right.

    Cells of one score are taken together; 0 where not even the surest ones are right often enough.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = []
    for weight in _weights(draws, order):
        taken, hits = np.cumsum(weight)[ends], np.cumsum(weight * right[order])[ends]
        enough = taken[(taken > 0) & (hits >= precision * taken - 1e-9)]
        found.append(enough[-1] / taken[-1] if len(enough) else 0.0)
    return np.array(found)


def auroc(draws: Resamples, score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve: how often a positive cell scores above another one; ties count half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.insert(np.diff(score[order]) != 0, 0, True))
    found = []
    for weight in _weights(draws, order):
        above = np.add.reduceat(np.where(positive[order], weight, 0), starts)
        below = np.add.reduceat(np.where(positive[order], 0, weight), starts)
        pairs = above.sum() * below.sum()
        found.append(np.sum(above * (np.cumsum(below) - below / 2)) / pairs if pairs else np.nan)
    return np.array(found)


def recalls(truth: np.ndarray, predicted: np.ndarray, names: np.ndarray) -> list[dict[str, float | str]]:
    """Return one record a class that occurs: cells, recall, precision and F1."""
    records: list[dict[str, float | str]] = []
    for code in np.unique(truth):
        mine, called = truth == code, predicted == code
        hits = int((mine & called).sum())
        records.append({
            "type": str(names[code]), "n_cells": int(mine.sum()), "recall": hits / int(mine.sum()),
            "precision": hits / max(int(called.sum()), 1), "f1": 2 * hits / int(mine.sum() + called.sum()),
        })  # fmt: skip
    return records


def _weights(draws: Resamples, order: np.ndarray) -> Iterator[np.ndarray]:
    codes = draws.codes[order]
    return (row[codes].astype(np.float64) for row in draws.counts)
