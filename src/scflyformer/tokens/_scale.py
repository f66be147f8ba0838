"""The scale of expression values, found cell by cell, and the way back to counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from scflyformer.tokens._linear_or_log import LARGEST_LOG1P, linear_rather_than_log

Scale = Literal["counts", "log1p", "linear", "log2(x+1)", "log10(x+1)", "sqrt", "log1p twice"]
SCALES: tuple[Scale, ...] = ("counts", "log1p", "linear", "log2(x+1)", "log10(x+1)", "sqrt", "log1p twice")
"""Scales by their number; ``linear`` is a normalisation or decimal counts without a logarithm."""
NO_EVIDENCE = -1
"""Number of a cell that fits every scale: one without values, or with equal ones."""
COUNTS, LOG1P, LINEAR, ROOT = 0, 1, 2, 5
_COMMON = (LOG1P, LINEAR)
LINEAR_SCALES = (COUNTS, LINEAR)
"""Scales on which values are proportional to counts."""
MULTIPLES = (1, 2, 3)
"""Smallest counts that a cell may have and still be rebuilt: the smallest value is taken to stand for so many."""
_CONVINCING = 5.0
"""Evidence, as a logarithm, from which a scale is taken: about 150 to 1."""
_BY_VALUE = 3.0
"""Evidence that other logarithms than log1p, and roots, need for each value besides; by chance it is 1."""
_NEARLY = 0.6
"""Share of whole multiples as they are from which values are no roots: squares of multiples are whole as well."""
_CERTAIN = 5.0
"""Evidence for each value from which, and from twice `_CONVINCING` in all, the other scales are not looked at."""
_ROUNDING = 2e-6
"""Relative error of values that were stored as float32, after the logarithm is undone; about twice what it is."""
_LOOKED_AT = 12
"""Values of a cell that are looked at before all are."""
_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_RATIO = 1e30  # keeps float32 finite

_UNDO: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    COUNTS: lambda x: x,
    LOG1P: np.expm1,
    LINEAR: lambda x: x,
    3: lambda x: np.expm1(x * np.log(2.0)),
    4: lambda x: np.expm1(x * np.log(10.0)),
    5: np.square,
    6: lambda x: np.expm1(np.expm1(x)),
}
_HIGHEST = {
    LOG1P: LARGEST_LOG1P,
    LINEAR: np.inf,
    3: LARGEST_LOG1P / np.log(2.0),
    4: LARGEST_LOG1P / np.log(10.0),
    5: np.exp(LARGEST_LOG1P / 2),
    6: np.log1p(LARGEST_LOG1P),
}
"""Scales tried where values are not whole, in this order, and the highest value on each."""


def check_values(values: np.ndarray, *, where: str) -> None:
    """Refuse non-zero values (in ``where``, such as ``"X"``) that are neither counts nor a monotone picture of them."""
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{where} holds values of type {values.dtype}; expected numbers.")
    if values.size == 0 or values.dtype.kind in "ub":
        return
    smallest, largest = values.min(), values.max()
    if smallest > 0 and largest <= _LARGEST:
        return
    if np.isnan(smallest) or np.isnan(largest):
        raise ValueError(f"{where} holds missing values (NaN); expected counts or log1p of normalised counts.")
    if abs(largest) > _LARGEST or abs(smallest) > _LARGEST:
        raise ValueError(f"{where} holds infinite values; expected counts or log1p of normalised counts.")
    if smallest < 0:
        raise ValueError(
            f"{where} holds negative values (down to {smallest:.3g}): it looks scaled or z-scored, and the order of "
            "genes in a cell is lost. Pass layer= with counts or log1p of normalised counts; where only adata.raw has "
            "them, use adata.raw.to_adata()."
        )


def are_integers(values: np.ndarray) -> bool:
    """Whether all values are whole numbers."""
    return values.dtype.kind != "f" or bool((np.rint(values) == values).all())


def varied_cells(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Return which cells hold different values, bool, shape (n_cells,); the others fit every scale."""
    filled = np.flatnonzero(np.diff(indptr))
    varied = np.zeros(len(indptr) - 1, dtype=bool)
    if len(filled):
        starts = indptr[:-1][filled]
        varied[filled] = np.maximum.reduceat(values, starts) > np.minimum.reduceat(values, starts)
    return varied


class CellCounts(NamedTuple):
    """Cells read each on its own scale."""

    counts: np.ndarray  # or values proportional to them within a cell, float64, (nnz,)
    scale: np.ndarray  # number of each cell's scale among `SCALES`, or `NO_EVIDENCE`, int8, (n_cells,)
    rebuilt: np.ndarray  # whether a cell's counts are whole numbers, bool, (n_cells,)


def read_cells(values: np.ndarray, indptr: np.ndarray) -> CellCounts:
    """Find the scale of each cell from its own positive values, and the counts behind them.

    Whole numbers are counts. Otherwise the scale is the one whose undoing gives whole multiples of the cell's smallest
    value (`whole_multiples`) with the most evidence. Where none does, `linear_rather_than_log` decides between decimals
    as they are and log1p. No other cell has a say.
    """
    lengths = np.diff(indptr)
    n_cells = len(lengths)
    given = values.astype(np.float64)
    counts = given.copy()
    scale = np.full(n_cells, NO_EVIDENCE, dtype=np.int8)
    rebuilt = lengths == 0
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return CellCounts(counts, scale, rebuilt)
    starts = indptr[:-1][filled]
    highest, lowest, whole = np.zeros(n_cells), np.zeros(n_cells), np.zeros(n_cells, dtype=bool)
    highest[filled], lowest[filled] = np.maximum.reduceat(counts, starts), np.minimum.reduceat(counts, starts)
    varied = highest > lowest
    whole[filled] = np.logical_and.reduceat(np.rint(counts) == counts, starts)
    rebuilt |= whole
    scale[whole & varied] = COUNTS

    evidence = np.full(n_cells, -np.inf)  # of the best reading so far
    open_ = ~whole & (lengths > 0)
    n_larger = np.zeros(n_cells, dtype=np.int64)
    n_larger[filled] = np.add.reduceat(counts > np.repeat(1.001 * lowest, lengths), starts, dtype=np.int64)
    for number, limit in _HIGHEST.items():
        cells = np.flatnonzero(open_ & (highest <= limit))
        cells = cells[_first_look(values, indptr, cells, lowest, _UNDO[number])]
        if not len(cells):
            continue
        part, ends = _entries_of(cells, indptr)
        multiples, support = whole_multiples(_UNDO[number](given[part]), ends)
        better = (support > evidence[cells]) & ((support >= _CONVINCING) | (n_larger[cells] == 0))
        if number not in _COMMON:
            better &= support >= _BY_VALUE * n_larger[cells]
        if number == ROOT and better.any():
            better &= _share_whole(given[part], ends) < _NEARLY
        scale[cells[better]], evidence[cells[better]] = number, support[better]
        open_[cells] &= evidence[cells] < np.maximum(_CERTAIN * n_larger[cells], 2 * _CONVINCING)
        keep = np.repeat(better, np.diff(ends))
        counts[part[keep]] = multiples[keep]
    rebuilt |= evidence > -np.inf
    scale[~varied] = NO_EVIDENCE

    left = np.flatnonzero(~rebuilt)
    if len(left):
        part, ends = _entries_of(left, indptr)
        logged = ~linear_rather_than_log(counts[part], ends)
        scale[left] = np.where(logged, LOG1P, LINEAR)
        undone = part[np.repeat(logged, np.diff(ends))]
        counts[undone] = np.expm1(counts[undone])
        np.minimum(counts, _LARGEST_RATIO, out=counts)
    return CellCounts(counts, scale, rebuilt)


def _first_look(
    values: np.ndarray,
    indptr: np.ndarray,
    cells: np.ndarray,
    lowest: np.ndarray,
    take_off: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return which cells may hold whole multiples, by a few values of each; it leaves out none that does."""
    lengths = np.diff(indptr)[cells]
    places = indptr[cells][:, None] + np.linspace(0, 1, _LOOKED_AT) * (lengths - 1)[:, None]
    with np.errstate(over="ignore"):
        ratio = take_off(values[places.astype(np.int64)].astype(np.float64)) / take_off(lowest[cells])[:, None]
    ratio = np.minimum(ratio, _LARGEST_RATIO)
    possible = np.zeros(len(cells), dtype=bool)
    for multiple in MULTIPLES:
        scaled = ratio * multiple
        possible |= (np.abs(scaled - np.rint(scaled)) <= _allowed(scaled)).all(axis=1)
    return possible


def _allowed(scaled: np.ndarray) -> np.ndarray:
    """Return how far a multiple may be from a whole number: 0.01, and the rounding of large ones."""
    return np.minimum(0.01 + _ROUNDING * scaled, 0.25)


def _entries_of(cells: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of some cells' entries, and a row pointer over these cells."""
    lengths = np.diff(indptr)[cells]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(ends[-1]) + np.repeat(indptr[cells] - ends[:-1], lengths), ends


def undo(values: np.ndarray, indptr: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return values, of any sign, taken off each cell's scale (numbers of `SCALES`); float64, shape (nnz,)."""
    out = values.astype(np.float64)
    for number in np.setdiff1d(scale, [NO_EVIDENCE, *LINEAR_SCALES]):
        part = _entries_of(np.flatnonzero(scale == number), indptr)[0]
        with np.errstate(over="ignore", invalid="ignore"):
            out[part] = _UNDO[int(number)](out[part])
    return out


def _share_whole(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Return the largest share of a cell's values, but the smallest, that are near a multiple; shape (n_cells,)."""
    starts, lengths = indptr[:-1], np.diff(indptr)
    ratio = values / np.repeat(np.minimum.reduceat(values, starts), lengths)
    larger = ratio > 1.001
    n_larger = np.maximum(np.add.reduceat(larger, starts, dtype=np.int64), 1)
    shares = []
    for multiple in MULTIPLES:
        near = np.abs(ratio * multiple - np.rint(ratio * multiple)) <= 0.02 * np.maximum(ratio * multiple, 1)
        shares.append(np.add.reduceat(near & larger, starts, dtype=np.int64) / n_larger)
    return np.max(shares, axis=0)


def whole_multiples(linear: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values as multiples of each cell's smallest one, and how much speaks for their being whole.

    The values are positive and linear within a cell; no cell is empty. The smallest value is taken to stand for 1, 2 or
    3 molecules, the least with which every value is close to a whole number; these are then the counts, up to a common
    divisor. Where there are none, the first result holds ratios to the smallest value.

    The evidence of each cell is, over its values but the smallest, the sum of the logarithm of how far from a whole
    number each was allowed to be over how far it is, rounding taken off neither; minus infinity where they are not
    whole.
    """
    starts, lengths = indptr[:-1], np.diff(indptr)
    smallest = np.minimum.reduceat(linear, starts)
    with np.errstate(over="ignore"):
        ratio = np.minimum(linear / np.repeat(smallest, lengths), _LARGEST_RATIO)
    multiples, evidence = ratio.copy(), np.full(len(lengths), -np.inf)
    for multiple in MULTIPLES:
        scaled = ratio * multiple
        whole = np.rint(scaled)
        off, allowed = np.abs(scaled - whole), _allowed(scaled)
        close = np.logical_and.reduceat(off <= allowed, starts) & np.isinf(evidence)
        if close.any():
            multiples = np.where(np.repeat(close, lengths), whole, multiples)
            gains = np.log(allowed / np.maximum(off, _ROUNDING * scaled)) * (ratio > 1.001)
            evidence[close] = np.add.reduceat(gains, starts)[close]
        if not np.isinf(evidence).any():
            break
    return multiples, evidence
