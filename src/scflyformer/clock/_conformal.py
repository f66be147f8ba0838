"""Prediction intervals from residuals of held-out samples, and how many cells they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scflyformer.stats._intervals import unit_codes

MIN_SAMPLES = 10
"""Fewer samples cannot show how far the predictions of another one may be off."""
_MOST_BINS = 8
"""Places along the predictions at which errors are averaged."""
_MOST_PARTS = 30
"""Samples up to which each is left out by itself where errors are scaled; more are left out in as many parts."""


@dataclass(frozen=True, eq=False)
class HalfWidth:
    """How far a prediction interval reaches to either side, by the prediction; constant beyond the outer places.

    Attributes
    ----------
    at, half
        Predictions, ascending, and half the width there, on the scale fitted, shape (n_places,). NaN without interval.
    """

    at: np.ndarray
    half: np.ndarray

    @classmethod
    def none(cls) -> HalfWidth:
        """Return that of no interval."""
        return cls(np.zeros(1), np.full(1, np.nan))

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Return half the width at each prediction."""
        return np.interp(predicted, self.at, self.half)


def reason_for_none(n_units: int, level: float) -> str:
    """Return why residuals of so many units give no interval of this level, or an empty text."""
    least = max(MIN_SAMPLES, int(np.ceil(level / (1 - level) - 1e-9)))
    return f"{n_units} samples to read errors off, fewer than {least}" if n_units < least else ""


def half_width(predicted: np.ndarray, residuals: np.ndarray, units: np.ndarray, level: float) -> HalfWidth:
    """Return how far prediction intervals must reach to hold the share ``level`` of the cells of an average new unit.

    Errors are larger at some ages than at others. Each |residual| is divided by what the other units lead to expect at
    its prediction, and the quantile of these ratios times what all units lead to expect gives the width. Every unit (a
    sample, or a cell) weighs the same, however many cells it has: the quantile is that of the mean of the units'
    distributions (Dunn, Wasserman & Ramdas 2022, "pooling CDFs"). A new unit may be stranger than all seen, so with k
    units the level is raised to ``level`` · (k + 1) / k.

    Parameters
    ----------
    predicted, residuals
        Predictions of cells whose unit the fit has not seen, and truth less prediction.
    units
        The unit of each cell.
    """
    codes, n_units = unit_codes(units, len(residuals))
    distance, weight = np.abs(residuals), 1 / np.bincount(codes, minlength=n_units)[codes]
    part, ratio = codes % _MOST_PARTS, np.empty(len(residuals))
    for number in np.unique(part):
        held = part == number
        rest = ~held if n_units > 1 else held
        expected = _expected(predicted[rest], distance[rest], weight[rest])
        ratio[held] = distance[held] / np.maximum(expected(predicted[held]), 1e-12)
    reached = weighted_quantile(ratio, weight, min(level * (n_units + 1) / n_units, 1.0))
    every = _expected(predicted, distance, weight)
    return HalfWidth(every.at, np.maximum(every.half, 1e-12) * reached)


def weighted_quantile(values: np.ndarray, weight: np.ndarray, level: float) -> float:
    """Return the least value such that values up to it hold the share ``level`` of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    return float(values[order[min(int(np.searchsorted(reached, level - 1e-12)), len(order) - 1)]])


def _expected(predicted: np.ndarray, distance: np.ndarray, weight: np.ndarray) -> HalfWidth:
    """Return the mean distance along the predictions: in bins of equal weight, each drawn to the mean by one sample."""
    values, place = np.unique(predicted, return_inverse=True)  # equal predictions fall in one bin
    held, far = np.bincount(place, weight), np.bincount(place, weight * distance)
    total = held.sum()  # the number of units
    n_bins = int(np.clip(total // 2, 1, _MOST_BINS))
    bins = np.minimum(((np.cumsum(held) - held / 2) / total * n_bins).astype(int), n_bins - 1)
    at, n, sums = (np.bincount(bins, each, n_bins) for each in (held * values, held, far))
    used, mean = n > 0, far.sum() / total
    return HalfWidth(at[used] / n[used], (sums[used] + mean) / (n[used] + 1))


def coverage(inside: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Return the share of cells inside their interval: the mean over units, and that of the unit with the least."""
    codes, n_units = unit_codes(units, len(inside))
    share = np.bincount(codes, weights=inside, minlength=n_units) / np.bincount(codes, minlength=n_units)
    return float(share.mean()), float(share.min())
