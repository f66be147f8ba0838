"""Whether samples of one level look older than samples of another at the same age."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from math import comb, factorial, prod

import numpy as np

_MOST = 10_000
"""Rearrangements up to which all are gone through; of more, this many less one are drawn."""
_ALIKE = 1 - 1e-9  # a statistic this much smaller than another is the same but for rounding


@dataclass(frozen=True)
class Difference:
    """How far a second level lies above a first.

    Attributes
    ----------
    n_first, n_second
        Samples that were compared.
    value, low, high
        The difference with its 95 % interval, in the unit of the values; NaN where it cannot be told.
    p_value
        Two-sided, by permutation.
    n_permutations
        Rearrangements behind the p-value: no p-value is below one in this number.
    shared
        Ages with samples of both levels; where there are any, only their samples are compared.
    """

    n_first: int
    n_second: int
    value: float
    low: float
    high: float
    p_value: float
    n_permutations: int
    shared: np.ndarray


def straight_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the least-squares line; NaN where ``x`` does not vary."""
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread <= 1e-12 * max(1.0, float(x @ x)):
        return float("nan"), float("nan")
    slope = float(centred @ y) / spread
    return slope, float(y.mean() - slope * x.mean())


def level_difference(
    values: np.ndarray,
    ages: np.ndarray,
    levels: np.ndarray,
    first: int,
    second: int,
    *,
    reference: int | None = None,
    seed: int = 0,
) -> Difference:
    """Compare samples of two levels at equal age.

    Where some ages have samples of both levels, these ages alone count: the difference is the mean over ages of that
    between the levels, weighted by the precision that the numbers of samples give, and levels are permuted over the
    samples of each age. No line enters.

    Where the levels share no age, the samples are moved to one age along a straight line, and the comparison is as good
    as that line. Its slope is that of the reference level, else the one common to all levels, fitted together with
    a height for each. The permutation is of the residuals of the model without a difference (Freedman and Lane 1983, J
    Bus Econ Stat 1, 292), with Student's statistic.

    Parameters
    ----------
    values
        Mean predicted age of each sample, shape (n_samples,).
    ages
        Its age, on the scale on which a line is straight, shape (n_samples,).
    first, second
        The levels to compare; the difference is that of ``second`` to ``first``.
    reference
        Level whose slope counts.
    """
    rng = np.random.default_rng(seed)
    shared = np.intersect1d(ages[levels == first], ages[levels == second])
    if len(shared):
        some = np.isin(levels, (first, second)) & np.isin(ages, shared)
        return _within_ages(values[some], ages[some], levels[some] == second, shared, rng)
    return _along_the_line(values, ages, levels, first, second, reference, rng)


def _within_ages(
    values: np.ndarray, ages: np.ndarray, second: np.ndarray, shared: np.ndarray, rng: np.random.Generator
) -> Difference:
    codes = np.searchsorted(shared, ages)
    both = np.array([[np.sum(~second[codes == age]), np.sum(second[codes == age])] for age in range(len(shared))])
    weight = both.prod(axis=1) / both.sum(axis=1)
    weight = weight / weight.sum()
    contrast = np.where(second, weight[codes] / both[codes, 1], -weight[codes] / both[codes, 0])
    design = np.column_stack([codes[:, None] == np.arange(len(shared)), second]).astype(float)
    value = float(contrast @ values)
    low, high = _contrast_interval(values, contrast, design)
    n_all = prod(comb(int(n), int(k)) for n, k in zip(both.sum(axis=1), both[:, 1], strict=True))
    exact = n_all <= _MOST
    null = np.zeros(1 if exact else _MOST - 1)
    for age, (n_first, n_second) in enumerate(both):
        inside = values[codes == age]
        n = len(inside)
        if exact:
            chosen = np.array(list(combinations(range(n), int(n_second))))
            null = (
                null[:, None] + weight[age] * _split_means(inside[chosen].sum(axis=1), inside, n_first, n_second)
            ).ravel()
        else:
            order = rng.permuted(np.tile(inside, (len(null), 1)), axis=1)
            null = null + weight[age] * _split_means(order[:, :n_second].sum(axis=1), inside, n_first, n_second)
    p_value = _p_value(value, null, exact=exact)
    n_first, n_second = both.sum(axis=0).tolist()
    return Difference(n_first, n_second, value, low, high, p_value, len(null) + (not exact), shared)


def _split_means(sums: np.ndarray, values: np.ndarray, n_first: int, n_second: int) -> np.ndarray:
    """Return mean of the second part less mean of the first, given sums over the second."""
    return sums / n_second - (values.sum() - sums) / n_first


def _along_the_line(
    values: np.ndarray,
    ages: np.ndarray,
    levels: np.ndarray,
    first: int,
    second: int,
    reference: int | None,
    rng: np.random.Generator,
) -> Difference:
    source = np.ones(len(levels), bool) if reference is None else levels == reference
    some = source | np.isin(levels, (first, second))
    values, ages, levels, source = values[some], ages[some], levels[some], source[some]
    height = (levels[:, None] == np.unique(levels)).astype(float)
    centred = np.where(source, ages - height @ ((height.T @ ages) / height.sum(axis=0)), 0.0)
    spread = float(centred @ centred)
    counts = int(np.sum(levels == first)), int(np.sum(levels == second))
    apart = (levels == second) / counts[1] - (levels == first) / counts[0]
    nan, none = float("nan"), np.empty(0)
    if spread <= 1e-12 * max(1.0, float(ages @ ages)):
        return Difference(*counts, nan, nan, nan, nan, 0, none)
    contrast = apart - centred * float(apart @ ages) / spread
    design = np.column_stack([height, ages])
    value = float(contrast @ values)
    low, high = _contrast_interval(values, contrast, design)
    if np.isnan(low):
        return Difference(*counts, value, low, high, nan, 0, none)
    merged = np.column_stack([design, np.isin(levels, (first, second))])
    merged = merged[:, [*np.flatnonzero(~np.isin(np.unique(levels), (first, second))), -2, -1]]
    left = values - merged @ np.linalg.lstsq(merged, values, rcond=None)[0]
    exact = factorial(min(len(values), 20)) <= _MOST
    if exact:
        orders = np.array(list(permutations(range(len(values)))))
    else:
        orders = rng.permuted(np.tile(np.arange(len(values)), (_MOST - 1, 1)), axis=1)
    p_value = _p_value(_student(left[None], contrast, design)[0], _student(left[orders], contrast, design), exact=exact)
    return Difference(*counts, value, low, high, p_value, len(orders) + (not exact), none)


def _contrast_interval(values: np.ndarray, contrast: np.ndarray, design: np.ndarray) -> tuple[float, float]:
    """Return Student's 95 % interval of a contrast, with the error left by the design; NaN where it leaves none."""
    from scipy.stats import t

    free = len(values) - int(np.linalg.matrix_rank(design))
    if free < 1:
        return float("nan"), float("nan")
    left = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    half = float(t.ppf(0.975, free) * np.sqrt(left @ left / free * (contrast @ contrast)))
    value = float(contrast @ values)
    return value - half, value + half


def _student(rows: np.ndarray, contrast: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return, for each row of values, the contrast over the length of what the design leaves."""
    left = rows - rows @ np.linalg.pinv(design).T @ design.T
    length = np.maximum(np.linalg.norm(left, axis=1), 1e-12 * np.linalg.norm(rows, axis=1) + 1e-300)
    return rows @ contrast / length


def _p_value(value: float, null: np.ndarray, *, exact: bool) -> float:
    """Return the two-sided share of the null at least as far from 0; drawn ones count the observed value too."""
    n_beyond = int(np.sum(np.abs(null) >= abs(value) * _ALIKE))
    return n_beyond / len(null) if exact else (1 + n_beyond) / (1 + len(null))
