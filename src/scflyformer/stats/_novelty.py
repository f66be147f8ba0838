"""Novelty of a cell: far from every class of a reference, and without evidence for any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

_SHRINK = 0.1
"""Share of the mean variance that is added to each variance, so that few cells suffice."""
_GRID = 1001
"""Quantiles that stand for the scores of the reference."""


@dataclass(frozen=True, eq=False)
class ClassDistance:
    """Squared Mahalanobis distance to the nearest class mean, all classes sharing one covariance (Lee et al. 2018).

    Attributes
    ----------
    whiten
        Takes features to where that covariance is the identity, shape (n_features, n_features).
    centres
        Class means there, of classes that have cells, shape (n_classes_seen, n_features).
    """

    whiten: np.ndarray
    centres: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> ClassDistance:
        """Fit to features (n_cells, n_features) and class codes (n_cells,)."""
        x = np.asarray(x, dtype=np.float64)
        y = np.unique(y, return_inverse=True)[1]
        centres = np.stack([x[y == code].mean(axis=0) for code in range(y.max() + 1)])
        rest = x - centres[y]
        covariance = rest.T @ rest / len(x)
        covariance[np.diag_indices_from(covariance)] += _SHRINK * max(np.trace(covariance) / x.shape[1], 1e-12)
        whiten = np.linalg.cholesky(np.linalg.inv(covariance))
        return cls(whiten, centres @ whiten)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the distance of each cell, float64, shape (n_cells,)."""
        z = np.asarray(x, dtype=np.float64) @ self.whiten
        distance = (z**2).sum(axis=1)[:, None] - 2 * z @ self.centres.T + (self.centres**2).sum(axis=1)
        return np.maximum(distance.min(axis=1), 0)


def held_out_distance(x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the distance of each cell to the classes of the other folds, float64, shape (n_cells,)."""
    distance = np.empty(len(x))
    for fold in np.unique(folds):
        held = folds == fold
        distance[held] = ClassDistance.fit(x[~held], y[~held])(x[held])
    return distance


@dataclass(frozen=True, eq=False)
class NearCells:
    """Tells cells like those that something was learnt from: near enough to one of their groups."""

    nearest: ClassDistance
    limit: float

    @classmethod
    def fit(cls, x: np.ndarray, groups: np.ndarray, folds: np.ndarray, *, share: float = 0.99) -> NearCells:
        """Learn how far a ``share`` of cells are from the groups of the other folds at most, each as it is held out."""
        return cls(ClassDistance.fit(x, groups), float(np.quantile(held_out_distance(x, groups, folds), share)))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return whether each cell is near enough, bool, shape (n_cells,)."""
        return self.nearest(x) <= self.limit


@dataclass(frozen=True, eq=False)
class Novelty:
    """Places cells among held-out cells of the reference.

    Two scores are joined: the distance to the nearest class, and the logits' energy, −log Σ exp (Liu et al. 2020). Each
    becomes the share of the reference's held-out cells that have a higher one, and the two shares one statistic
    (Fisher's −Σ log).

    Attributes
    ----------
    nearest
        Distance to the classes, fitted on the whole reference.
    quantiles
        Those of energy, distance and their statistic over held-out cells of the reference, shape (3, n_quantiles).
    """

    nearest: ClassDistance
    quantiles: np.ndarray

    @classmethod
    def fit(cls, nearest: ClassDistance, logits: np.ndarray, distance: np.ndarray) -> Novelty:
        """Learn what is usual from held-out logits (n_cells, n_classes) and distances (n_cells,)."""
        scores = [energy(logits), np.asarray(distance, dtype=np.float64)]
        grid = np.linspace(0, 1, _GRID)
        parts = np.stack([np.quantile(score, grid) for score in scores])
        joined = sum(-np.log(_share_above(score, part)) for score, part in zip(scores, parts, strict=True))
        return cls(nearest, np.concatenate([parts, np.quantile(joined, grid)[None]]))

    def score(self, logits: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return the share of the reference's held-out cells that are less novel, 0 to 1, shape (n_cells,)."""
        scores = zip((energy(logits), distance), self.quantiles[:2], strict=True)
        joined = sum(-np.log(_share_above(score, part)) for score, part in scores)
        return 1 - _share_above(joined, self.quantiles[2])

    def __call__(self, x: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return :meth:`score` of cells with features (n_cells, n_features) and logits (n_cells, n_classes)."""
        return self.score(logits, self.nearest(x))


def held_out_novelty(logits: np.ndarray, distance: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the novelty of held-out cells, each placed among the cells of the other groups, shape (n_cells,).

    Where cells had a part in the quantiles, 1 % would be above 0.99 by construction, whatever a new sample loses.
    `groups`, two or more, are folds or samples.
    """
    out = np.empty(len(logits))
    for group in np.unique(groups):
        held = groups == group
        nearest = ClassDistance(np.empty((0, 0)), np.empty((0, 0)))  # distances are given
        out[held] = Novelty.fit(nearest, logits[~held], distance[~held]).score(logits[held], distance[held])
    return out


def energy(logits: np.ndarray) -> np.ndarray:
    """Return −log Σ exp over the classes, float64: low where some class is well supported."""
    return -logsumexp(np.asarray(logits, dtype=np.float64), axis=1)


def _share_above(score: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Return the share of a reference above each score: interpolated between quantiles, falling on beyond the last.

    Past the highest quantile the share shrinks with the excess over the spread, so that cells more novel than the whole
    reference still differ.
    """
    last = 1 / len(quantiles)
    share = np.interp(score, quantiles, np.linspace(1, last, len(quantiles)))
    spread = max(quantiles[-1] - quantiles[len(quantiles) // 2], 1e-12)
    return share / (1 + np.maximum(score - quantiles[-1], 0) / spread)
