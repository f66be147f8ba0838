"""Means over folds, and intervals of the paired differences between two representations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.stats._intervals import t_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = "HVG + PCA-50"
FEWEST_FOLDS = 3


def paired_interval(values: np.ndarray, others: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean difference over folds, and its t interval.

    Parameters
    ----------
    values, others
        What two representations reach in the same folds, shape (n_folds,).
    level
        Confidence of the interval.

    Returns
    -------
    Mean of ``values - others``, lower and upper end.

    Notes
    -----
    Folds share training cells, so that they are less independent than a t interval assumes.
    """
    difference = np.subtract(values, others)
    return float(difference.mean()), *t_interval(difference, level)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def said_folds(n: int, whole: bool) -> str:
    """Return in words how many folds there are, and whether they give an interval."""
    if not whole:
        return f"{n} folds of single cells: no interval"
    return f"{n} folds" if n >= FEWEST_FOLDS else f"{n} folds: no interval"


def compared(values: np.ndarray, others: np.ndarray, *, interval: bool) -> str:
    """Return the mean over folds and the mean difference to other values, with its interval if there is one."""
    text = f"{np.mean(values):.3f}, {_signed(float(np.mean(np.subtract(values, others))))}"
    if interval:
        _, low, high = paired_interval(values, others)
        text += f" ({_signed(low)} to {_signed(high)})"
    return text


def comparison(results: dict[str, dict[str, Any]], number: int, columns: Iterable[str], whole: bool) -> list[str]:
    """Return the folds in words, then a text a column: how one of its measures by fold compares with `REFERENCE`.

    ``whole`` says whether folds are whole libraries, plates or donors.
    """
    by_column = {name: [pair[number] for pair in result["folds"].values()] for name, result in results.items()}
    others = by_column[REFERENCE]
    interval = whole and len(others) >= FEWEST_FOLDS
    texts = [said_folds(len(others), whole)]
    for column in columns:
        if column == REFERENCE:
            texts.append(f"{np.mean(others):.3f}")
        else:
            values = by_column.get(column)
            texts.append("–" if values is None else compared(values, others, interval=interval))
    return texts
