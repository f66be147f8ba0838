"""Out-of-fold logits of a family of classifiers, tuned inside the training folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scflyformer.stats._families import Family, Matrix
from scflyformer.stats._intervals import sample_weights
from scflyformer.stats._logistic import held_out_losses


@dataclass(frozen=True, eq=False)
class CrossResult:
    """Cross-validated class scores."""

    logits: np.ndarray
    """Out-of-fold logits, float64, (n_cells, n_classes); a class missing in the training folds gets a logit so low that
    its probability is 0. NaN in folds that were left out."""
    chosen: np.ndarray  # grid value of each outer training set, (n_folds,); NaN for folds that were left out
    parameter: float  # grid value for a fit on all cells: the nearest to the geometric mean of those chosen


def cross_fit(
    family: Family,
    x: Matrix,
    y: np.ndarray,
    folds: np.ndarray,
    *,
    n_classes: int,
    samples: np.ndarray | None = None,
    only: Iterable[int] | None = None,
) -> CrossResult:
    """Return out-of-fold logits; the number is that of the highest likelihood in training folds, each held out in turn.

    Its logarithm is the mean over samples of the mean over their cells, so that large samples do not choose alone; over
    cells where no samples are named. A fit without two folds serves both of them. `folds` run from 0 to
    n_folds − 1. With two folds the middle grid value is taken, as no fold is left to choose it on. `only` names the
    folds to hold out, by default all.
    """
    n_folds = int(folds.max()) + 1
    logits = np.full((len(y), n_classes), np.nan)
    chosen = np.full(n_folds, np.nan)
    weight, paths = sample_weights(samples, len(y)), dict[frozenset[int], Path]()
    for fold in range(n_folds) if only is None else only:
        train, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        checks = []
        for other in range(n_folds) if n_folds > 2 else ():
            if other == fold:
                continue
            pair = frozenset((fold, other))
            if pair not in paths:
                out = np.isin(folds, list(pair))
                paths[pair] = Path(family, x, y, np.flatnonzero(~out), np.flatnonzero(out), n_classes)
            checks.append((paths[pair], np.flatnonzero(folds == other)))
        chosen[fold] = _best(family, checks, weight)
        fitted = family.fit(x[train], y[train], n_classes=n_classes, parameter=chosen[fold])
        logits[held] = fitted(x[held])
    middle = np.nanmean(np.log(chosen))
    return CrossResult(logits, chosen, min(family.grid, key=lambda value: abs(np.log(value) - middle)))


def choose(
    family: Family,
    x: Matrix,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    n_classes: int,
    samples: np.ndarray | None = None,
) -> float:
    """Return the grid value with the least loss on cells to check, by fits on other cells.

    The grid is gone through from the simplest classifier on until the loss rises (one minimum in practice). Without
    cells to check on, or with a single class to fit on, the middle value is taken.

    Parameters
    ----------
    splits
        Positions of the cells to fit on and of those to check, one pair or several.
    samples
        Sample of each cell, each of which weighs alike; `None` to weigh cells alike.
    """
    checks = [(Path(family, x, y, core, check, n_classes), check) for core, check in splits]
    return _best(family, checks, sample_weights(samples, len(y)))


@dataclass(eq=False)
class Path:
    """Fits on the same cells along the grid, each made when it is first asked for.

    Attributes
    ----------
    core, check
        Positions of the cells to fit on and of those whose loss may be asked for.
    """

    family: Family
    x: Matrix
    y: np.ndarray
    core: np.ndarray
    check: np.ndarray
    n_classes: int
    losses: list[np.ndarray] = field(default_factory=list)
    fitted: Any = None

    @property
    def can_tell(self) -> bool:
        """Whether there are classes to fit and cells to check."""
        return len(self.check) > 0 and len(np.unique(self.y[self.core])) > 1

    def loss(self, number: int, cells: np.ndarray) -> np.ndarray:
        """Return the loss of some of the cells to check by the fit of this number; NaN for a class not fitted."""
        while len(self.losses) <= number:
            value, y = self.family.grid[len(self.losses)], self.y[self.core]
            self.fitted = self.family.fit(
                self.x[self.core], y, n_classes=self.n_classes, parameter=value, start=self.fitted
            )
            self.losses.append(held_out_losses(self.fitted(self.x[self.check]), self.y[self.check]))
        return self.losses[number][np.searchsorted(self.check, cells)]


def _best(family: Family, checks: Sequence[tuple[Path, np.ndarray]], weight: np.ndarray) -> float:
    """Return the grid value with the least weighted mean loss over the cells of all checks."""
    if len(family.grid) == 1:
        return family.grid[0]
    checks = [(path, cells) for path, cells in checks if path.can_tell]
    if not checks:
        return family.grid[len(family.grid) // 2]
    weights = np.concatenate([weight[cells] for _, cells in checks])
    best, least = family.grid[0], np.inf
    for number, value in enumerate(family.grid):
        losses = np.concatenate([path.loss(number, cells) for path, cells in checks])
        known = np.isfinite(losses)
        loss = float(np.average(losses[known], weights=weights[known])) if known.any() else np.inf
        if loss > least:
            break
        if loss < least:
            best, least = value, loss
    return best
