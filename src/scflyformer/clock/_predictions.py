"""Predicted ages of cells, as they go to `obs`."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class AgePredictions:
    """A value for each cell, shape (n_cells,).

    Attributes
    ----------
    predicted, low, high
        Age and prediction interval, in the unit of the ages; NaN for cells that are not predicted.
    outside
        Whether the prediction lies outside the ages that the clock has learnt from.
    """

    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    outside: np.ndarray

    @classmethod
    def none(cls, n_cells: int) -> AgePredictions:
        """Return predictions of no cell."""
        predicted, low, high = (np.full(n_cells, np.nan) for _ in range(3))
        return cls(predicted, low, high, np.zeros(n_cells, dtype=bool))

    def take(self, cells: np.ndarray) -> AgePredictions:
        """Return the predictions of some cells."""
        return AgePredictions(*(getattr(self, field.name)[cells] for field in fields(self)))

    def put(self, cells: np.ndarray, predictions: AgePredictions) -> None:
        """Set the predictions of some cells."""
        for field in fields(self):
            getattr(self, field.name)[cells] = getattr(predictions, field.name)

    def columns(self, key: str) -> dict[str, np.ndarray]:
        """Return the columns of `obs`, by name."""
        return {key: self.predicted, f"{key}_low": self.low, f"{key}_high": self.high, f"{key}_outside": self.outside}
