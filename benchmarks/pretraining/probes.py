"""What a representation of cells is judged by: probes and neighbours; arrays in, predictions out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer.clock._ridge import ALPHAS, _apply, _squares
from scflyformer.clock._ridge_solvers import Primal
from scflyformer.clock._units import EXPRESSION
from scflyformer.stats._cross import choose
from scflyformer.stats._families import Family
from scflyformer.stats._intervals import sample_weights
from scflyformer.stats._linear import column_moments, one_scale, standardised
from scflyformer.stats._logistic import fit_logistic
from scflyformer.stats._splits import sample_folds

from ..lib.splits import N_INNER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scflyformer.stats._linear import LinearHead, Scaled, Scaler

    Matrix = np.ndarray | sparse.csr_matrix
    Blocks = Mapping[str, Matrix]

N_NEIGHBOURS = 15
GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Inverse penalties C of the probe of every representation; part of what the kept results mean."""


def beside(blocks: Blocks) -> Matrix:
    """Return the features of all blocks beside one another; sparse where there is but one block and it is sparse."""
    parts = list(blocks.values())
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.toarray() if sparse.issparse(part) else part for part in parts], axis=1)


def by_block(blocks: Blocks) -> Scaler:
    """Return what scales features that stand beside one another: genes one by one, any other block as a whole."""

    def scaled(x: Any) -> Scaled:
        parts, at = [], 0
        for name, block in blocks.items():
            part = x[:, at : at + block.shape[1]]
            parts.append(standardised(part) if name == EXPRESSION else one_scale(part))
            at += block.shape[1]
        mean, scale, z = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
        return mean, scale, z

    return scaled


def logistic(blocks: Blocks) -> Family:
    """Return the classifiers of these blocks, each block scaled as `tl.annotate` scales its like."""

    def fit(x: Any, y: np.ndarray, *, n_classes: int, parameter: float, start: Any = None) -> LinearHead:
        return fit_logistic(x, y, n_classes=n_classes, penalty=parameter, scaler=by_block(blocks))

    return Family("probe", GRID, fit)


def probe_labels(
    blocks: Blocks, labels: np.ndarray, libraries: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, float]:
    """Predict class codes of test cells by multinomial logistic regression; the average feature has variance 1.

    Genes (the block `EXPRESSION`) are standardised one by one, the columns of any other block are divided by one
    number. C is the one with the highest likelihood in whole training libraries, of four folds each held out in turn;
    every library weighs alike.
    """
    x, y, n_classes, family = beside(blocks), labels[train], int(labels.max()) + 1, logistic(blocks)
    inner = sample_folds(libraries[train], labels=y, n_splits=N_INNER)
    splits = [(train[inner != fold], train[inner == fold]) for fold in np.unique(inner)]
    penalty = choose(family, x, labels, splits, n_classes, libraries)
    head = family.fit(x[train], y, n_classes=n_classes, parameter=penalty)
    return head(x[test]).argmax(axis=1), penalty


def probe_age(
    blocks: Blocks, target: np.ndarray, libraries: np.ndarray, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, float]:
    """Predict a number of test cells by ridge regression; blocks are scaled as for `probe_labels`, to total variance 1.

    Alpha, returned as well, has the least squared error over folds of whole training libraries, each of which weighs
    alike.
    """
    y = target[train].astype(np.float64)
    folds = sample_folds(libraries[train], values=y, n_splits=N_INNER)
    taught = {name: block[train] for name, block in blocks.items()}
    together = [name for name in blocks if name != EXPRESSION]
    solver = Primal(taught, y, folds, {"all": list(blocks)}, ALPHAS, together)
    everything = frozenset(range(int(folds.max()) + 1))
    errors, weight = np.zeros(len(ALPHAS)), sample_weights(libraries[train], len(train))
    for fold in everything:
        (predicted,) = solver.predictions(everything - {fold}, (fold,))["all"]
        errors += _squares(y[folds == fold], predicted, weight[folds == fold])
    alpha = float(ALPHAS[np.argmin(errors)])
    head = solver.heads(everything, {"all": alpha})["all"]
    return _apply(head, list(blocks.values()), test), alpha


def neighbour_agreement(
    blocks: Blocks,
    labels: np.ndarray,
    libraries: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    k: int = N_NEIGHBOURS,
) -> np.ndarray:
    """Return the share of each test cell's nearest cells of other libraries that have its label.

    Neighbours are sought among training and test cells by Euclidean distance; with several blocks each is first given
    total variance 1 over the training cells.
    """
    if len(blocks) > 1:
        scales = {name: np.sqrt((column_moments(block[train])[1] ** 2).sum()) for name, block in blocks.items()}
        blocks = {name: block / np.float32(scales[name]) for name, block in blocks.items()}
    features = beside(blocks)
    x = np.asarray(features.toarray() if sparse.issparse(features) else features, dtype=np.float32)
    x = x - x[train].mean(axis=0)
    squares = (x**2).sum(axis=1)
    pool = np.concatenate([train, test])
    share = np.empty(len(test))
    for library in np.unique(libraries[test]):
        others = pool[libraries[pool] != library]
        mine = np.flatnonzero(libraries[test] == library)
        for part in np.array_split(mine, max(len(mine) // 1024, 1)):
            distance = squares[others] - 2 * (x[test[part]] @ x[others].T)
            nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]
            share[part] = (labels[others[nearest]] == labels[test[part], None]).mean(axis=1)
    return share
