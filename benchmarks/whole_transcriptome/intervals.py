"""Means over folds, and intervals of the paired differences between two representations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.stats._intervals import t_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = "HVG + PCA-50"
FEWEST_FOLDS = 3


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def compared(values: np.ndarray, others: np.ndarray, *, interval: bool) -> str:
    """Return the mean over folds and the mean difference to other values, with its 95 % t interval if there is one.

    Folds share training cells, so that they are less independent than a t interval assumes.
    """
    difference = np.subtract(values, others)
    text = f"{np.mean(values):.3f}, {_signed(difference.mean())}"
    if interval:
        low, high = t_interval(difference, 0.95)
        text += f" ({_signed(low)} to {_signed(high)})"
    return text


def comparison(results: dict[str, dict[str, Any]], number: int, columns: Iterable[str], whole: bool) -> list[str]:
    """Return the folds in words, then a text a column: how one of its measures by fold compares with `REFERENCE`.

    ``whole`` says whether folds are whole libraries, plates or donors.
    """
    by_column = {name: [pair[number] for pair in result["folds"].values()] for name, result in results.items()}
    others = by_column.pop(REFERENCE)
    interval = whole and len(others) >= FEWEST_FOLDS
    kind = "" if whole else " of single cells"
    texts = {name: compared(values, others, interval=interval) for name, values in by_column.items()}
    texts[REFERENCE] = f"{np.mean(others):.3f}"
    folds = f"{len(others)} folds{kind}{'' if interval else ': no interval'}"
    return [folds, *(texts.get(column, "–") for column in columns)]
