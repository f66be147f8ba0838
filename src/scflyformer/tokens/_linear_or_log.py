"""Decimals as they are or behind log1p: a rule for cells whose values are no whole multiples of one unit on any scale.

``python -m benchmarks.scale_reading`` prints how often it is wrong.
"""

from __future__ import annotations

import numpy as np

LARGEST_LOG1P = 20.0
"""Highest value behind log1p: about 5e8 molecules of one gene per cell, or per whatever cells were scaled to."""
WHOLE_SHARE = 0.3
"""Share of exactly whole values above which a cell holds counts, some of them split; logarithms have none."""
LEVEL_SHARE = 0.25
"""Share of a cell's values in the narrowest interval, which is taken for the level of single molecules."""
ABOVE_LEVEL = 1.15
"""Multiple of that level above which values are looked at."""
DECADE_WEIGHT = 3.0
"""Weight of a tenfold mean over median, after undoing the logarithm, beside the fit of the levels."""
NEEDED = 0.75
"""Evidence needed for linear; with less, values are logarithms."""
_SHIFTS = (-0.06, 0.0, 0.06)  # the level itself is known to about this, as a logarithm


def _level_density() -> tuple[np.ndarray, np.ndarray]:
    """Return log ratios to the level of one molecule, and the logarithm of how dense counts of a cell are there."""
    x = np.linspace(-3, 16, 3801)
    ratio, exponent, width, last = np.exp(x), 2.2, 0.06, 12
    total = (np.arange(1, 5000.0) ** -exponent).sum()
    # Decimal counts lie a little below whole ones, hence 0.96. From about ten molecules on, levels are not told apart.
    levels = sum(k**-exponent * np.exp(-0.5 * ((x - np.log(0.96 * k)) / width) ** 2) for k in range(1, last + 1)) / (
        width * np.sqrt(2 * np.pi)
    )
    beyond = 1 / (1 + np.exp(-(x - np.log(last - 2)) / 0.1))
    counts = (levels * (1 - beyond) + ratio ** (1 - exponent) * beyond) / total
    anything = 0.2 * np.where(ratio > 1, ratio**-0.4, ratio)  # reads, lengths: no levels and a heavy tail
    return x, np.log(0.7 * counts + 0.3 * anything + 1e-7)


_RATIOS, _LOG_DENSITY = _level_density()


def _log_expm1(values: np.ndarray) -> np.ndarray:
    return values + np.log(-np.expm1(-values))


def _lower_median_and_level(ordered: np.ndarray, indptr: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each cell's lower median, and the median of the narrowest interval (in ratio) of a quarter of it.

    Values ascend within a cell.
    """
    lengths, starts = np.diff(indptr), indptr[:-1]
    median = ordered[starts + (lengths - 1) // 2]
    size = np.maximum(np.ceil(lengths * LEVEL_SHARE).astype(np.int64), 1)
    logs = np.log(ordered)
    end = np.arange(len(ordered)) + size[row] - 1
    inside = end < indptr[1:][row]
    width = np.where(inside, logs[np.where(inside, end, 0)] - logs, np.inf)
    narrowest = np.flatnonzero(width == np.minimum.reduceat(width, starts)[row])
    first = narrowest[np.unique(row[narrowest], return_index=True)[1]]
    return median, ordered[first + (size - 1) // 2]


def linear_rather_than_log(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Return which cells' positive values are, by themselves, linear rather than behind log1p; False without evidence.

    Linear for certain are cells with a value above 20, and cells with many exactly whole values. In the others two
    things are added up. *Levels*: most values of a cell stand for one molecule, and those above should lie near twice,
    three times that level, fewer and fewer of them; the logarithm of how much better they do so as they are than with
    the logarithm undone, over the root of their number. *Spread*: where there is no logarithm, undoing it makes a few
    genes enormous; the powers of ten between the mean and the median that result.
    """
    lengths = np.diff(indptr)
    linear = np.zeros(len(lengths), dtype=bool)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return linear
    starts = indptr[:-1][filled]
    whole = np.add.reduceat((np.rint(values) == values).astype(np.float64), starts) / lengths[filled]
    certain = (np.maximum.reduceat(values, starts) > LARGEST_LOG1P) | (whole > WHOLE_SHARE)
    linear[filled] = certain
    cells = filled[~certain]
    if not len(cells):
        return linear
    undecided = np.zeros(len(lengths), dtype=bool)
    undecided[cells] = True
    values, lengths = values[np.repeat(undecided, np.diff(indptr))], lengths[cells]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(len(cells)), lengths)
    values = values[np.lexsort((values, row))]  # the order of genes has no say in the last bits either
    median, level = _lower_median_and_level(values, indptr, row)

    mean = np.add.reduceat(np.expm1(values), indptr[:-1]) / lengths
    decades = np.clip(np.log10(mean / np.expm1(median)), 0, 4)

    above = values > ABOVE_LEVEL * level[row]
    values, row = values[above], row[above]
    stretch = np.log(-np.expm1(-values))  # of the logarithmic axis, where log1p is undone
    logs = np.log(values)
    fits = []
    for axis, origin, slope in ((logs, np.log(level), logs), (values + stretch, _log_expm1(level), stretch)):
        ratio = axis - origin[row]
        sums = [np.bincount(row, np.interp(ratio - s, _RATIOS, _LOG_DENSITY) - slope, len(cells)) for s in _SHIFTS]
        fits.append(np.max(sums, axis=0))
    levels = (fits[0] - fits[1]) / np.sqrt(np.bincount(row, minlength=len(cells)) + 1)
    linear[cells] = levels + DECADE_WEIGHT * decades > NEEDED
    return linear
