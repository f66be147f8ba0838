"""Neighbours, probes and halves of cells: features in, one number or one prediction a cell out."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.special import log_softmax
from sklearn.metrics import f1_score

if TYPE_CHECKING:
    from .representations import Features

GRID = tuple(4.0**power for power in range(8))
"""Inverse penalties C of the probe, for features of total variance 1; the same for every representation."""
N_NEIGHBOURS = 10
N_INNER = 3


def dense(features: Features) -> np.ndarray:
    """Return features as a dense array of doubles."""
    return np.asarray(features.toarray() if sparse.issparse(features) else features, dtype=float)


def prepared(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centre features and give them total variance 1 over the training cells, all by one factor.

    Where there are more features than training cells, they are turned into coordinates within the span of the training
    cells. Distances there and penalised regressions are the same; it is faster.
    """
    x = x - x[train].mean(axis=0)
    if x.shape[1] > len(train):
        values, vectors = np.linalg.eigh(x[train] @ x[train].T)
        used = values > values[-1] * 1e-10
        x = (x @ x[train].T) @ (vectors[:, used] / np.sqrt(values[used]))
    return x / np.sqrt((x[train] ** 2).sum(axis=1).mean())


def folds_of(labels: np.ndarray, libraries: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return a fold a cell: whole libraries where there are several, else stratified by label."""
    names, code = np.unique(libraries, return_inverse=True)
    return code if len(names) > 1 else stratified(labels, n, seed)


def stratified(labels: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return a fold a cell, cells of a label dealt to folds in turn after shuffling."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=int)
    fold[order] = np.arange(len(labels)) % n
    return fold


def _fits(x: np.ndarray, y: np.ndarray):
    """Yield classifiers over the grid, strongest penalty first, each started from the last."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(warm_start=True, tol=1e-6, max_iter=300)
    for penalty in GRID:
        model.C = penalty
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield model.fit(x, y)


def probe(x: np.ndarray, labels: np.ndarray, inner: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
    """Predict the label of every cell by logistic regression on the training cells; no other label is read.

    ``inner`` is the fold of each training cell; C, returned as well, is that of `GRID` with the highest likelihood in
    held-out inner folds.
    """
    x = prepared(x, train)
    y = labels[train]
    gains = np.zeros(len(GRID))
    for fold in np.unique(inner):
        core, check = train[inner != fold], train[inner == fold]
        known = check[np.isin(labels[check], labels[core])]
        for number, model in enumerate(_fits(x[core], labels[core])):
            scores = x[known] @ model.coef_.T + model.intercept_
            scores = np.column_stack([-scores / 2, scores / 2]) if scores.shape[1] == 1 else scores
            picked = np.searchsorted(model.classes_, labels[known])
            gains[number] += log_softmax(scores, axis=1)[np.arange(len(known)), picked].sum()
    best = int(np.argmax(gains))
    for model, _ in zip(_fits(x[train], y), range(best + 1), strict=False):
        predicted = model.predict(x)
    return predicted, GRID[best]


def _similarity(x: np.ndarray, others: np.ndarray, *, cosine: bool) -> np.ndarray:
    if cosine:
        x, others = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in (x, others))
        return x @ others.T
    return 2 * x @ others.T - (others**2).sum(axis=1)


def nearest(x: np.ndarray, queries: np.ndarray, pool: np.ndarray, *, cosine: bool) -> np.ndarray:
    """Return positions of the 10 cells of the pool nearest to each query, itself left out."""
    near = _similarity(x[queries], x[pool], cosine=cosine)
    near[queries[:, None] == pool[None, :]] = -np.inf
    return pool[np.argsort(-near, axis=1, kind="stable")[:, :N_NEIGHBOURS]]


def same_type(x: np.ndarray, labels: np.ndarray, queries: np.ndarray, pool: np.ndarray, *, cosine: bool) -> np.ndarray:
    """Return the share of the 10 nearest cells of the pool that have the label of each query."""
    return (labels[nearest(x, queries, pool, cosine=cosine)] == labels[queries, None]).mean(axis=1)


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean F1 over the labels that occur in the truth."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro"))


def found_again(a: np.ndarray, b: np.ndarray, asked: np.ndarray, centre: np.ndarray) -> tuple[float, float]:
    """Return how well two halves of the cells asked find one another among all cells, by cosine about a centre.

    The share of halves whose most similar other half is that of the same cell, and the share of the 10 nearest cells of
    a half that are also among the 10 nearest of the other. ``centre`` are the cells whose mean is taken off, each half
    by itself.
    """
    a, b = a - a[centre].mean(axis=0), b - b[centre].mean(axis=0)
    queries, pool = np.flatnonzero(asked), np.arange(len(a))
    both = [(_similarity(x[queries], y, cosine=True).argmax(axis=1) == queries).mean() for x, y in ((a, b), (b, a))]
    first, second = (nearest(x, queries, pool, cosine=True) for x in (a, b))
    shared = [len(np.intersect1d(one, two)) / N_NEIGHBOURS for one, two in zip(first, second, strict=True)]
    return float(np.mean(both)), float(np.mean(shared))
