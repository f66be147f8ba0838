"""Prediction intervals from residuals of held-out samples, and how many cells they hold."""

from __future__ import annotations

import numpy as np

from scflyformer.stats._intervals import unit_codes


def interval_radius(residuals: np.ndarray, units: np.ndarray, level: float) -> float:
    """Return how far either side a prediction interval must reach to hold the share ``level`` of a new unit's cells.

    Every unit (a sample, or a cell) weighs the same, however many cells it has: a quantile of the mean of the units'
    distributions of |residual| (Dunn, Wasserman & Ramdas 2022, "pooling CDFs"). A new unit may be stranger than all
    seen, so with k units the level is raised to ``level`` · (k + 1) / k, and with few units the largest residual is
    taken.

    ``residuals`` are truth less prediction of cells whose unit the fit has not seen; ``units`` is the unit of each.
    """
    codes, n_units = unit_codes(units, len(residuals))
    distance = np.abs(residuals)
    order = np.argsort(distance, kind="stable")
    weight = (1 / np.bincount(codes, minlength=n_units))[codes][order]
    reached = np.cumsum(weight) / n_units
    at = int(np.searchsorted(reached, min(level * (n_units + 1) / n_units, 1.0) - 1e-12))
    return float(distance[order[min(at, len(order) - 1)]])


def coverage(inside: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Return the share of cells inside their interval: the mean over units, and that of the unit with the least."""
    codes, n_units = unit_codes(units, len(inside))
    share = np.bincount(codes, weights=inside, minlength=n_units) / np.bincount(codes, minlength=n_units)
    return float(share.mean()), float(share.min())
