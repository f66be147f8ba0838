"""Student's t intervals, and percentile bootstrap intervals that draw whole units (samples) with replacement.

Whether one prediction is better than another is told from Student's t over the gains of whole samples, which holds its
level from three samples on. A percentile bootstrap (Efron 1979) does not: with few samples it calls two that are alike
different far too often. It serves macro-F1 alone: where the units are cells, and for a rough interval of the score.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MIN_UNITS = 3
"""Fewer samples cannot tell whether a gain is one of other samples, too."""
_CHUNK = 2**22  # numbers a chunk of multiplicities may hold


def bootstrap_counts(n_units: int, *, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each unit is drawn, float64, chunks of shape (some resamples, n_units), `n_boot` rows in all."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(n_units, 1))
    for start in range(0, n_boot, step):
        rows = min(step, n_boot - start)
        yield rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=rows).astype(np.float64)


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval of the finite draws; NaN where fewer than half of them are finite."""
    finite = draws[np.isfinite(draws)]
    if len(finite) < max(2, len(draws) / 2):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def unit_codes(units: np.ndarray | None, n_cells: int) -> tuple[np.ndarray, int]:
    """Return a unit number per cell and how many units there are; each cell is its own unit without `units`."""
    if units is None:
        return np.arange(n_cells), n_cells
    names, codes = np.unique(np.asarray(units).astype(str), return_inverse=True)
    return codes, len(names)


def sample_weights(samples: np.ndarray | None, n_cells: int) -> np.ndarray:
    """Return a weight for each cell: one over the number of cells of its sample; 1 where no samples are named."""
    if samples is None:
        return np.ones(n_cells)
    codes = unit_codes(samples, n_cells)[0]
    return 1 / np.bincount(codes)[codes]


def unit_sums(codes: np.ndarray, n_units: int, *columns: np.ndarray) -> np.ndarray:
    """Return sums over each unit's cells, shape (n_units, n_columns)."""
    return np.stack([np.bincount(codes, weights=column, minlength=n_units) for column in columns], axis=1)


def t_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return Student's t interval of the mean of independent ``values``; NaN for fewer than two."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    mean = float(np.mean(values))
    return mean - half, mean + half


def gain_interval(gains: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return :func:`t_interval` of the gains of whole units; NaN for fewer than `MIN_UNITS`."""
    return t_interval(gains, level) if len(gains) >= MIN_UNITS else (float("nan"), float("nan"))
