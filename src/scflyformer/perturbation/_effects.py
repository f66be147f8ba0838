"""What edits did to the cells of a group, gene set by gene set: means over samples, and their intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True, eq=False)
class SetEffects:
    """What was read off the edited cells of one group, summed up by gene set.

    Attributes
    ----------
    numbers
        The sets, ascending, int64, shape (n_sets,).
    means
        Mean over the cells of each sample, float64, shape (n_sets, n_samples, n_columns); NaN where there is none.
    n_cells
        Cells with a number, int64, shape (n_sets, n_columns).
    spread
        Standard deviation over cells, float64, shape (n_sets, n_columns).
    """

    numbers: np.ndarray
    means: np.ndarray
    n_cells: np.ndarray
    spread: np.ndarray

    @property
    def n_samples(self) -> np.ndarray:
        """Samples with a number, shape (n_sets, n_columns)."""
        return np.isfinite(self.means).sum(1)

    @property
    def shift(self) -> np.ndarray:
        """Mean over sample means, shape (n_sets, n_columns)."""
        with np.errstate(invalid="ignore"):
            return np.nansum(self.means, axis=1) / np.where(self.n_samples > 0, self.n_samples, np.nan)

    def half_width(self, level: float = 0.95) -> np.ndarray:
        """Return half of Student's t interval over samples, or over cells where there is one sample; NaN for one cell.

        Shape (n_sets, n_columns).
        """
        n, centre = self.n_samples, self.shift
        squares = np.nansum((self.means - centre[:, None]) ** 2, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            between = np.sqrt(squares / (n - 1) / n)
            error = np.where(n > 1, between, self.spread / np.sqrt(self.n_cells))
            count = np.where(n > 1, n, self.n_cells)
            return np.where(count > 1, t.ppf((1 + level) / 2, np.maximum(count - 1, 1)) * error, np.nan)


def set_effects(chosen: np.ndarray, sample: np.ndarray, values: np.ndarray) -> SetEffects:
    """Sum up what was read off edited cells.

    Parameters
    ----------
    chosen
        The gene set of each edited cell, int64, shape (n_copies,).
    sample
        Number of its sample, int64, shape (n_copies,).
    values
        What was read off, float64, shape (n_copies, n_columns); NaN is left out.
    """
    numbers, place = np.unique(chosen, return_inverse=True)
    n_samples = int(sample.max(initial=-1)) + 1
    cell = place * n_samples + sample
    shape = len(numbers), n_samples
    means = np.empty((*shape, values.shape[1]))
    n_cells = np.empty((len(numbers), values.shape[1]), dtype=np.int64)
    spread = np.empty(n_cells.shape)
    for column, value in enumerate(values.T):
        known = np.isfinite(value)
        counts = np.bincount(cell[known], minlength=means[..., 0].size).reshape(shape)
        total = np.bincount(cell[known], weights=value[known], minlength=counts.size).reshape(shape)
        n = counts.sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[..., column] = total / np.where(counts > 0, counts, np.nan)
            off = value - (total.sum(1) / n)[place]
            squares = np.bincount(place[known], weights=off[known] ** 2, minlength=len(numbers))
            spread[:, column] = np.sqrt(squares / np.where(n > 1, n - 1, np.nan))
        n_cells[:, column] = n
    return SetEffects(numbers, means, n_cells, spread)
