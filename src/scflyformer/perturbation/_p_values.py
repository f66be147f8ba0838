"""p-values and effects of a shift beside those of null sets."""

from __future__ import annotations

import numpy as np


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
