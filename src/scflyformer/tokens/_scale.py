"""The scale of expression values, told from the values, and the way back to counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Scale = Literal["counts", "log1p", "linear", "log2(x+1)", "log10(x+1)"]
LOG_BASES: dict[str, float] = {"log1p": np.e, "log2(x+1)": 2.0, "log10(x+1)": 10.0}
LOG_MAX = {"log1p": 20.0, "log2(x+1)": 28.0, "log10(x+1)": 9.0}
"""Highest value on each log scale: about 3e8 molecules of one gene per cell, or per whatever cells were scaled to."""
MULTIPLES = (1, 2, 3)
"""Smallest counts that a cell may have and still be rebuilt: the smallest value is taken to stand for so many."""
_CLEAR = 0.9
_CONVINCING = 0.5
_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_RATIO = 1e30  # keeps float32 finite


def check_values(values: np.ndarray, *, where: str) -> None:
    """Refuse values that are neither counts nor a monotone picture of counts.

    Parameters
    ----------
    values
        Non-zero values.
    where
        Where they came from, in words, such as ``"X"``.

    Raises
    ------
    ValueError
        For negative, missing or infinite values; says what to pass instead.
    """
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


def to_linear(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Undo the logarithm of ``scale``; float64 where there was one, the values themselves where not."""
    if scale in ("counts", "linear"):
        return values
    wide = values.astype(np.float64)
    return np.expm1(wide) if scale == "log1p" else np.expm1(wide * np.log(LOG_BASES[scale]))


def rebuild_counts(linear: np.ndarray, indptr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the counts behind normalised values, cell by cell.

    A cell's values are divided by its smallest one, which stands for 1, 2 or 3 molecules; where every ratio is then
    close to a whole number, these are the counts, up to a common divisor. Where not, the ratios stay as they are.

    Parameters
    ----------
    linear
        Positive values, linear within a cell, shape (nnz,).
    indptr
        Row pointer over cells, shape (n_cells + 1,).

    Returns
    -------
    Counts or ratios, float64, shape (nnz,), and which cells were rebuilt, bool, shape (n_cells,). A cell without
    values counts as rebuilt.
    """
    linear = linear.astype(np.float64)
    lengths = np.diff(indptr)
    filled = np.flatnonzero(lengths)
    done = lengths == 0
    if not len(filled):
        return linear, done
    starts = indptr[:-1][filled]
    smallest = np.minimum.reduceat(linear, starts)
    with np.errstate(over="ignore"):
        ratio = np.minimum(linear / np.repeat(smallest, lengths[filled]), _LARGEST_RATIO)
    found = ratio.copy()
    for multiple in MULTIPLES:
        scaled = ratio * multiple
        whole = np.rint(scaled)
        # Values stored as float32 carry a relative error of about 1e-6 after the logarithm is undone.
        off = np.abs(scaled - whole) > np.minimum(0.01 + 2e-6 * scaled, 0.25)
        new = ~np.logical_or.reduceat(off, starts) & ~done[filled]
        if new.any():
            found = np.where(np.repeat(new, lengths[filled]), whole, found)
            done[filled[new]] = True
        if done.all():
            break
    return found, done


@dataclass
class ScaleEvidence:
    """What the values of cells say about their scale: `add` chunks, bring evidence `together`, then ask for `scale`.

    Everything is decided by whole cells and by sums over them, so the answer does not depend on the chunks. Cells whose
    values are all whole numbers are counts, or chance; they do not take part in the choice among other scales.
    """

    where: str
    candidates: tuple[Scale, ...] = ("log1p",)
    largest: float = 0.0
    largest_whole: float = 0.0
    n_cells: int = 0
    n_whole: int = 0
    rebuilt: dict[str, int] = field(default_factory=dict)

    def add(self, values: np.ndarray, indptr: np.ndarray) -> None:
        """Take in the positive values of some cells."""
        check_values(values, where=self.where)
        lengths = np.diff(indptr)
        filled = np.flatnonzero(lengths)
        if not len(filled):
            return
        starts, lengths = indptr[:-1][filled], lengths[filled]
        highest, lowest = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
        whole = np.logical_and.reduceat(np.rint(values) == values, starts)
        # A cell of equal values, such as ones, may be whole on any scale and says nothing unless they are high.
        self.n_whole += int((whole & (highest > lowest)).sum())
        self.largest_whole = max(self.largest_whole, float(highest[whole].max(initial=0)))
        self.n_cells += int((~whole).sum())
        self.largest = max(self.largest, float(highest[~whole].max(initial=0)))
        values = values[np.repeat(~whole, lengths)]
        indptr = np.concatenate([[0], np.cumsum(lengths[~whole])])
        for scale in self.candidates:
            if self._possible(scale):
                cells = rebuild_counts(to_linear(values, scale), indptr)[1]
                self.rebuilt[scale] = self.rebuilt.get(scale, 0) + int(cells.sum())

    @classmethod
    def together(cls, where: str, candidates: tuple[Scale, ...], parts: Iterable[ScaleEvidence]) -> ScaleEvidence:
        """Return what several pieces of evidence say as one."""
        whole = cls(where, candidates)
        for part in parts:
            whole.largest = max(whole.largest, part.largest)
            whole.largest_whole = max(whole.largest_whole, part.largest_whole)
            whole.n_cells += part.n_cells
            whole.n_whole += part.n_whole
            for scale, count in part.rebuilt.items():
                whole.rebuilt[scale] = whole.rebuilt.get(scale, 0) + count
        return whole

    def _possible(self, scale: str) -> bool:
        return self.largest <= LOG_MAX.get(scale, np.inf)

    def share(self, scale: str) -> float:
        """Share of the cells that give whole counts when the logarithm of ``scale`` is undone."""
        return self.rebuilt.get(scale, 0) / max(self.n_cells, 1) if self._possible(scale) else 0.0

    @property
    def clear(self) -> bool:
        """Whether log1p, the usual case, explains nearly every cell, so that nothing else need be tried."""
        return self.share("log1p") >= _CLEAR

    def scale(self) -> Scale:
        """Return the scale that gives whole counts in most cells; failing that, judge by the largest value.

        Raises
        ------
        ValueError
            When cells of counts stand beside cells of log values.
        """
        best = max(self.candidates, key=self.share)
        if self.share(best) < _CONVINCING:
            best = "log1p" if self._possible("log1p") else "linear"
        # The natural logarithm of no count is a whole number; other bases have some, all of them low.
        beside = self.n_whole if best == "log1p" else 0
        if beside or self.largest_whole > LOG_MAX.get(best, np.inf):
            raise ValueError(
                f"{self.where} mixes {beside or 'some'} cells of whole counts with {self.n_cells} cells of log values; "
                "expected one scale throughout. Pass layer= with counts for all."
            )
        return best
