"""p-values and effects of a shift beside those of null sets."""

from __future__ import annotations

import numpy as np

LEAST_NULLS = 20
"""Null shifts from which a tail is fitted."""


def null_p_value(observed: float, null: np.ndarray) -> float:
    """Two-sided p-value of a shift among null shifts.

    (1 + number of null shifts at least as far from the null median as the observed one) / (1 + number of null shifts),
    so never 0 (Phipson and Smyth 2010, Stat Appl Genet Mol Biol 9, 39); NaN without null shifts. Equal but for rounding
    counts as equal.
    """
    null = null[np.isfinite(null)]
    if not len(null) or not np.isfinite(observed):
        return float("nan")
    centre = np.median(null)
    far = abs(observed - centre) * (1 - 1e-9)
    return float((1 + np.sum(np.abs(null - centre) >= far)) / (1 + len(null)))


def tail_p_value(observed: float, null: np.ndarray) -> float:
    """Two-sided p-value of a shift in the tail of Student's t, fitted to null shifts.

    For scans in which 1 / (1 + number of null shifts) is too coarse. Centre, scale and degrees of freedom are those at
    which median, and median and 90 % quantile of the distance from it, are those of the null shifts: a few true shifts
    among them have little say. What lies beyond is extrapolated. NaN for fewer than `LEAST_NULLS` null shifts, or for
    ones that are all alike.
    """
    from scipy.optimize import brentq
    from scipy.stats import t

    null = null[np.isfinite(null)]
    if len(null) < LEAST_NULLS or not np.isfinite(observed):
        return float("nan")
    centre = np.median(null)
    half, most = np.quantile(np.abs(null - centre), [0.5, 0.9])
    if half <= 0:
        return float("nan")

    def excess(freedom: float) -> float:
        return float(t.ppf(0.95, freedom) / t.ppf(0.75, freedom) - most / half)

    low, high = 1.0, 200.0
    freedom = low if excess(low) <= 0 else high if excess(high) >= 0 else brentq(excess, low, high)
    return float(2 * t.sf(abs(observed - centre) * t.ppf(0.75, freedom) / half, freedom))


def null_effect(observed: float, null: np.ndarray) -> tuple[float, float]:
    """Return the null mean and (observed - null mean) / null standard deviation; NaN where there is none."""
    null = null[np.isfinite(null)]
    if not len(null):
        return float("nan"), float("nan")
    mean = float(null.mean())
    spread = float(null.std(ddof=1)) if len(null) > 1 else 0.0
    return mean, (observed - mean) / spread if spread > 0 else float("nan")


def compare_with_nulls(observed: float, null: np.ndarray) -> dict[str, float | int]:
    """Return the columns ``null_mean``, ``effect``, ``p_value`` and ``n_null`` of a shift beside null shifts."""
    mean, effect = null_effect(observed, null)
    p_value, n_null = null_p_value(observed, null), int(np.isfinite(null).sum())
    return {"null_mean": mean, "effect": effect, "p_value": p_value, "n_null": n_null}


def label_p_value(shifts: np.ndarray, null: np.ndarray) -> float:
    """p-value of a gene's effect among its effects where the states were dealt anew.

    An effect here is the shift less the median of the null genes' shifts, in their interquartile ranges, under the same
    states: what the permuted goal's place alone does to any gene cancels, and true shifts among the null genes have
    little say.

    Parameters
    ----------
    shifts
        Of the gene, towards the true goal and each permuted one, shape (1 + n_permutations,).
    null
        Of its null genes, shape (n_null, 1 + n_permutations).

    Returns
    -------
    (1 + number of permutations with an effect at least as far from 0) / (1 + number of permutations); NaN for fewer
    than `LEAST_NULLS` null genes, or without an effect.
    """
    if len(null) < LEAST_NULLS:
        return float("nan")
    low, middle, high = np.quantile(null, [0.25, 0.5, 0.75], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(high > low, np.abs(shifts - middle) / (high - low), np.nan)
    permuted = effect[1:][np.isfinite(effect[1:])]
    if not np.isfinite(effect[0]) or not len(permuted):
        return float("nan")
    return float((1 + np.sum(permuted >= effect[0] * (1 - 1e-9))) / (1 + len(permuted)))
