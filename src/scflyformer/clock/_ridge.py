"""Ridge regression, cross-validated with an inner choice of alpha, for several feature sets at once.

Every step is a function of sums over folds (count, mean, cross-products), so the data are read once: the training set
of each outer and inner fold is a sum of fold sums. Features are centred and scaled with the training folds' moments:
genes and covariates each by its standard deviation, all columns of an embedding by one number. Each block (embedding,
expression, …) is given total variance 1, so that one grid of alphas means the same to every feature set:
beta = argmin mean (y − z·beta)² + alpha·|beta|². With more features than training cells the same problem is solved in
its dual form, on cell × cell products (Saunders, Gammerman & Vovk 1998).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.clock._ridge_solvers import Dual, Primal
from scflyformer.stats._intervals import sample_weights

if TYPE_CHECKING:
    from scipy import sparse

    from scflyformer.stats._linear import LinearHead

ALPHAS = np.logspace(1, -6, 10)
"""Penalties tried, strongest first: the stronger one is taken where two do equally well."""


@dataclass(frozen=True, eq=False)
class RidgeResult:
    """Cross-validated predictions of one feature set.

    Attributes
    ----------
    predicted
        Out-of-fold prediction of each cell, float64, shape (n_cells,).
    alphas
        Penalty chosen inside each outer training set, shape (n_folds,).
    inner
        For each outer fold, predictions of its training cells by fits that have seen neither that fold nor the cell's
        own, with the penalty chosen; NaN for the outer fold's cells. Shape (n_folds, n_cells).
    heads
        The readout of each outer training set.
    head
        The readout fitted on all cells with the penalty that did best over the outer folds; `None` unless asked for.
    alpha
        That penalty; NaN unless asked for.
    """

    predicted: np.ndarray
    alphas: np.ndarray
    inner: np.ndarray
    heads: list[LinearHead]
    head: LinearHead | None = None
    alpha: float = float("nan")


def nested_ridge(
    blocks: Mapping[str, np.ndarray | sparse.csr_matrix],
    y: np.ndarray,
    folds: np.ndarray,
    feature_sets: Mapping[str, Sequence[str]],
    *,
    alphas: np.ndarray = ALPHAS,
    final: Sequence[str] = (),
    together: Collection[str] = (),
    samples: np.ndarray | None = None,
) -> dict[str, RidgeResult]:
    """Cross-validate ridge regression for several feature sets in the same folds with the same budget.

    For each outer fold, alpha is the one with the least mean squared error when each of the other folds is held out in
    turn from the training folds; the held-out fold has no part in it. It is the mean over samples, so that large ones
    do not choose alone.

    Parameters
    ----------
    blocks
        Feature matrices by name, each of shape (n_cells, n_features).
    folds
        Fold of each cell, 0 to n_folds − 1, shape (n_cells,); at least three folds.
    feature_sets
        The blocks each feature set is made of.
    final
        Feature sets for which a readout on all cells is wanted as well.
    together
        Blocks whose columns are divided by one number, as those of an embedding are; in the others each column is
        standardised.
    samples
        Sample of each cell; `None` to weigh cells alike in the choice of alpha.
    """
    n_folds = int(folds.max()) + 1
    if n_folds < 3:
        raise ValueError(f"Choosing alpha inside the training folds needs at least 3 folds; got {n_folds}.")
    y = np.asarray(y, dtype=np.float64)
    widths = {name: block.shape[1] for name, block in blocks.items()}
    least = min(int((folds != fold).sum()) for fold in range(n_folds))
    results: dict[str, RidgeResult] = {}
    for solver in (Primal, Dual):
        wide = solver is Dual
        mine = {
            name: parts for name, parts in feature_sets.items() if (sum(widths[part] for part in parts) > least) == wide
        }
        if not mine:
            continue
        used = {part: blocks[part] for part in dict.fromkeys(part for parts in mine.values() for part in parts)}
        fitted = solver(used, y, folds, mine, alphas, together)
        results |= _cross_validate(fitted, [name for name in mine if name in final], sample_weights(samples, len(y)))
    return {name: results[name] for name in feature_sets}


def _cross_validate(fitted: Primal | Dual, final: Sequence[str], weight: np.ndarray) -> dict[str, RidgeResult]:
    """Return the results of a solver's feature sets; squared errors that choose a penalty are multiplied by weights."""
    y, folds, alphas, names = fitted.y, fitted.folds, fitted.alphas, list(fitted.feature_sets)
    n_folds = int(folds.max()) + 1
    everything = frozenset(range(n_folds))
    places = [np.flatnonzero(folds == fold) for fold in range(n_folds)]
    # (outer, inner fold) → predictions of the inner fold's cells
    tried: dict[tuple[int, int], dict[str, np.ndarray]] = {}
    for pair in combinations(range(n_folds), 2):
        found = fitted.predictions(everything - set(pair), pair)
        for outer, inner in (pair, pair[::-1]):
            tried[outer, inner] = {name: found[name][pair.index(inner)] for name in names}
    picks = {name: np.empty(n_folds, dtype=np.int64) for name in names}
    inner_predicted = {name: np.full((n_folds, len(y)), np.nan) for name in names}
    for fold in range(n_folds):
        others = sorted(everything - {fold})
        for name in names:
            total = sum(_squares(y[places[at]], tried[fold, at][name], weight[places[at]]) for at in others)
            pick = picks[name][fold] = np.argmin(total)
            for other in others:
                inner_predicted[name][fold, places[other]] = tried[fold, other][name][:, pick]
    predicted = {name: np.empty(len(y)) for name in names}
    heads: dict[str, list[LinearHead]] = {name: [] for name in names}
    for fold in range(n_folds):
        chosen = {name: float(alphas[picks[name][fold]]) for name in names}
        for name, head in fitted.heads(everything - {fold}, chosen).items():
            heads[name].append(head)
            predicted[name][places[fold]] = _apply(head, fitted.parts(name), places[fold])
    best: dict[str, float] = {}
    if final:
        error = {name: np.zeros(len(alphas)) for name in final}
        for fold in everything:
            found = fitted.predictions(everything - {fold}, (fold,))
            for name in final:
                error[name] += _squares(y[places[fold]], found[name][0], weight[places[fold]])
        best = {name: float(alphas[error[name].argmin()]) for name in final}
    on_all = fitted.heads(everything, best)
    return {
        name: RidgeResult(
            predicted[name], np.asarray(alphas)[picks[name]], inner_predicted[name], heads[name], on_all.get(name),
            best.get(name, float("nan")),
        )
        for name in names
    }  # fmt: skip


def _squares(y: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted sum of squared errors of each column."""
    return weight @ (predicted - y[:, None]) ** 2


def _apply(head: LinearHead, parts: list[np.ndarray | sparse.csr_matrix], rows: np.ndarray) -> np.ndarray:
    slope, out, at = head.slope[0], np.full(len(rows), head.offset[0]), 0
    for part in parts:
        out += part[rows] @ slope[at : at + part.shape[1]]
        at += part.shape[1]
    return out
