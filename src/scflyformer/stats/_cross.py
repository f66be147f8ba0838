"""Out-of-fold logits of a family of classifiers, tuned inside the training folds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scflyformer.stats._families import Family, Matrix
from scflyformer.stats._logistic import held_out_loss


@dataclass(frozen=True, eq=False)
class CrossResult:
    """Cross-validated class scores."""

    logits: np.ndarray
    """Out-of-fold logits, float64, (n_cells, n_classes); a class missing in the training folds gets a logit so low that
    its probability is 0. NaN in folds that were left out."""
    chosen: np.ndarray  # grid value of each outer training set, (n_folds,); NaN for folds that were left out
    parameter: float  # grid value for a fit on all cells: the nearest to the geometric mean of those chosen


def cross_fit(
    family: Family, x: Matrix, y: np.ndarray, folds: np.ndarray, *, n_classes: int, only: Iterable[int] | None = None
) -> CrossResult:
    """Return out-of-fold logits; the number is chosen by the log-likelihood of a training fold held out from the rest.

    `folds` run from 0 to n_folds − 1. With two folds the middle grid value is taken, as no fold is left to choose it
    on. `only` names the folds to hold out, by default all.
    """
    n_folds = int(folds.max()) + 1
    logits = np.full((len(y), n_classes), np.nan)
    chosen = np.full(n_folds, np.nan)
    for fold in range(n_folds) if only is None else only:
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        check = folds == (fold + 1) % n_folds if n_folds > 2 else np.zeros(len(y), dtype=bool)
        chosen[fold] = choose(family, x, y, np.flatnonzero((folds != fold) & ~check), np.flatnonzero(check), n_classes)
        fitted = family.fit(x[train], y[train], n_classes=n_classes, parameter=chosen[fold])
        logits[held] = fitted(x[held])
    middle = np.nanmean(np.log(chosen))
    return CrossResult(logits, chosen, min(family.grid, key=lambda value: abs(np.log(value) - middle)))


def choose(family: Family, x: Matrix, y: np.ndarray, core: np.ndarray, check: np.ndarray, n_classes: int) -> float:
    """Return the grid value with the least loss on the cells `check` of a fit on the cells `core`.

    The grid is gone through from the simplest classifier on until the loss rises (one minimum in practice). Without
    cells to check on, or with a single class to fit on, the middle value is taken.
    """
    if len(family.grid) == 1:
        return family.grid[0]
    if not len(check) or len(np.unique(y[core])) < 2:
        return family.grid[len(family.grid) // 2]
    x_core, y_core, x_check, y_check = x[core], y[core], x[check], y[check]
    best, least, fitted = family.grid[0], np.inf, None
    for value in family.grid:
        fitted = family.fit(x_core, y_core, n_classes=n_classes, parameter=value, start=fitted)
        loss = held_out_loss(fitted(x_check), y_check)
        if loss > least:
            break
        if loss < least:
            best, least = value, loss
    return best
