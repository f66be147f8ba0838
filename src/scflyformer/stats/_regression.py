"""How good predicted numbers are, and resamples of that over samples."""

from __future__ import annotations

import numpy as np

from scflyformer.stats._intervals import bootstrap_counts, unit_codes, unit_sums
from scflyformer.stats._sklearn import load_sklearn


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return 1 − Σ(truth − predicted)² / Σ(truth − mean truth)²; NaN where the truth does not vary."""
    load_sklearn()
    from sklearn.metrics import r2_score

    if len(truth) < 2 or np.ptp(truth) == 0:
        return float("nan")
    return float(r2_score(truth, predicted))


def mae(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean absolute error, in the unit of the truth."""
    return float(np.abs(np.asarray(truth, np.float64) - predicted).mean()) if len(truth) else float("nan")


def spearman(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN where either side does not vary."""
    from scipy.stats import spearmanr

    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(spearmanr(truth, predicted).statistic)


def r2_draws(
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Return :func:`r2` of `n_boot` bootstrap resamples of whole units; none with fewer than two units."""
    codes, n_units = unit_codes(units, len(truth))
    if n_units < 2:
        return np.empty(0)
    centred = np.asarray(truth, dtype=np.float64) - np.mean(truth)
    error = np.asarray(truth, dtype=np.float64) - predicted
    sums = unit_sums(codes, n_units, np.ones(len(centred)), centred, centred**2, error**2)
    draws = []
    for counts in bootstrap_counts(n_units, n_boot=n_boot, seed=seed):
        n, first, second, squared = (counts @ sums).T
        spread = second - first**2 / np.maximum(n, 1)
        draws.append(1 - np.divide(squared, spread, out=np.full_like(n, np.nan), where=spread > 1e-9 * n))
    return np.concatenate(draws)


def mae_draws(
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Return :func:`mae` of `n_boot` bootstrap resamples of whole units; none with fewer than two units."""
    codes, n_units = unit_codes(units, len(truth))
    if n_units < 2:
        return np.empty(0)
    error = np.abs(np.asarray(truth, dtype=np.float64) - predicted)
    sums = unit_sums(codes, n_units, np.ones(len(error)), error)
    totals = np.concatenate([counts @ sums for counts in bootstrap_counts(n_units, n_boot=n_boot, seed=seed)])
    return totals[:, 1] / totals[:, 0]


def spearman_draws(
    truth: np.ndarray,
    predicted: np.ndarray,
    units: np.ndarray | None = None,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Return :func:`spearman` of `n_boot` bootstrap resamples of whole units; none with fewer than two units."""
    codes, n_units = unit_codes(units, len(truth))
    if n_units < 2:
        return np.empty(0)
    ranked = [_Ranked(np.asarray(truth)), _Ranked(np.asarray(predicted))]
    draws = [
        _weighted_correlation(ranked[0].ranks(weights), ranked[1].ranks(weights), weights)
        for counts in bootstrap_counts(n_units, n_boot=n_boot, seed=seed)
        for weights in counts[:, codes]
    ]
    return np.asarray(draws)


class _Ranked:
    """Values sorted once, whose mid-ranks follow for any multiplicities."""

    def __init__(self, values: np.ndarray) -> None:
        self.distinct, self.codes = np.unique(values, return_inverse=True)

    def ranks(self, weights: np.ndarray) -> np.ndarray:
        """Return the mid-rank of each value when value i occurs `weights[i]` times."""
        at = np.bincount(self.codes, weights=weights, minlength=len(self.distinct))
        return (np.cumsum(at) - at / 2 + 0.5)[self.codes]


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    total = weights.sum()
    size = np.sqrt((weights @ x**2) * (weights @ y**2))
    x = x - weights @ x / total
    y = y - weights @ y / total
    scale = np.sqrt((weights @ x**2) * (weights @ y**2))
    return float(weights @ (x * y) / scale) if scale > 1e-12 * size else float("nan")  # what rounding leaves is none
