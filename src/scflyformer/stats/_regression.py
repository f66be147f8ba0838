"""How good predicted numbers are, and what each sample contributes to that.

A score is split into parts, one a unit (a sample, or a cell where none are named), whose mean is the score. The spread
of the parts gives Student's interval of a score, and that of the differences of two predictions' parts the interval of
a gain. The parts of R² and Spearman's correlation keep the spread of the truth, and ranks, as they are in all cells: a
library of one age has neither by itself.
"""

from __future__ import annotations

import numpy as np

from scflyformer.stats._intervals import unit_codes, unit_sums
from scflyformer.stats._sklearn import load_sklearn

_MOST_LEFT_OUT = 200
"""Units up to which each is left out by itself."""


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


def r2_parts(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Return 1 − k · SSEᵤ / SST of each of k units: its squared errors over the fixed total sum of squares."""
    codes, n_units = unit_codes(units, len(truth))
    truth = np.asarray(truth, dtype=np.float64)
    total = float(((truth - truth.mean()) ** 2).sum()) if len(truth) > 1 and np.ptp(truth) > 0 else np.nan
    return 1 - n_units * unit_sums(codes, n_units, (truth - predicted) ** 2)[:, 0] / total


def mae_parts(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Return :func:`mean_parts` of the absolute errors."""
    return mean_parts(np.abs(np.asarray(truth, dtype=np.float64) - predicted), units)


def spearman_parts(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Return k · Σ zx·zy of each of k units, where z are the ranks among all cells, centred, of length 1.

    For gains: the differences of two predictions' parts lie about 0 where nothing differs, however few the units.
    """
    codes, n_units = unit_codes(units, len(truth))
    return n_units * unit_sums(codes, n_units, _unit_ranks(truth) * _unit_ranks(predicted))[:, 0]


def spearman_influence(truth: np.ndarray, predicted: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Return what each of k units adds to the correlation, by leaving it out (Tukey's jackknife); the mean is ρ.

    For the interval of the correlation itself: that units of a middle age contribute little to it is no spread. Of more
    than `_MOST_LEFT_OUT` units, cells mostly, it is ρ + k · (zx·zy − ρ (zx² + zy²) / 2), the ranks kept.
    """
    codes, n_units = unit_codes(units, len(truth))
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if n_units <= _MOST_LEFT_OUT:
        without = np.array([spearman(truth[codes != unit], predicted[codes != unit]) for unit in range(n_units)])
        return spearman(truth, predicted) + (n_units - 1) * (without.mean() - without)
    x, y = _unit_ranks(truth), _unit_ranks(predicted)
    rho = float(x @ y)
    return rho + n_units * unit_sums(codes, n_units, x * y - rho * (x**2 + y**2) / 2)[:, 0]


def mean_parts(values: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
    """Return parts of the mean of one value a cell: m + (nᵤ / n̄)(mᵤ − m) of a unit of nᵤ cells and mean mᵤ.

    Their mean is m, and their variance that of a ratio estimator: units of more cells weigh more.
    """
    codes, n_units = unit_codes(units, len(values))
    values = np.asarray(values, dtype=np.float64)
    mean = values.mean() if len(values) else float("nan")
    return mean + unit_sums(codes, n_units, values - mean)[:, 0] * n_units / max(len(values), 1)


def _unit_ranks(values: np.ndarray) -> np.ndarray:
    """Return the mid-ranks, centred and of length 1; NaN where nothing varies."""
    from scipy.stats import rankdata

    ranks = rankdata(values) - (len(values) + 1) / 2
    length = float(np.sqrt(ranks @ ranks))
    return ranks / (length if length > 0 else np.nan)
