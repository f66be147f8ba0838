"""Where cells stand between states: centroids from other cells, cosines, means over samples."""

from __future__ import annotations

import numpy as np


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return vectors divided by their length; zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def state_cosines(vectors: np.ndarray, centroids: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return the cosine of each cell with its centroid of each state, float64, shape (n_cells, n_states).

    ``which`` is the place of that centroid among ``centroids``, negative where there is none, shape (n_cells,
    n_states). NaN where there is no centroid or a vector has no length.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = vectors.astype(np.float64)
        cells /= np.linalg.norm(cells, axis=1, keepdims=True)
        states = centroids.astype(np.float64)
        states /= np.linalg.norm(states, axis=1, keepdims=True)
    out = np.full(which.shape, np.nan)
    for state in range(which.shape[1]):
        known = which[:, state] >= 0
        out[known, state] = np.einsum("ij,ij->i", cells[known], states[which[known, state]])
    return out


def inliers(vectors: np.ndarray, share: float = 0.9) -> np.ndarray:
    """Return which cells of a state are nearest to its mean, bool, shape (n_cells,): ``share`` of them, by cosine."""
    n = len(vectors)
    near = state_cosines(vectors, vectors.astype(np.float64).mean(0, keepdims=True), np.zeros((n, 1), dtype=np.int64))
    kept = np.zeros(n, dtype=bool)
    kept[np.argsort(-near[:, 0], kind="stable")[: int(np.ceil(share * n))]] = True
    return kept


def held_out_centroids(
    vectors: np.ndarray, samples: np.ndarray, *, counted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return centroids of a state for its own cells, and the centroid of each cell, -1 where no cell is left for it.

    With two or more samples a cell's centroid is the mean over the cells of the other samples; otherwise the mean over
    all other cells. ``counted`` cells, bool, shape (n_cells,), enter the means. Centroids are float64, shape
    (n_centroids, width); the numbers int64, shape (n_cells,).
    """
    vectors = vectors.astype(np.float64)
    n = len(vectors)
    names, code = np.unique(samples, return_inverse=True)
    if n < 2:
        return np.zeros((0, vectors.shape[1])), np.full(n, -1)
    if len(names) < 2:
        code, names = np.arange(n), np.arange(n)
    weight = np.ones(n) if counted is None else counted.astype(np.float64)
    sums = np.zeros((len(names), vectors.shape[1]))
    np.add.at(sums, code, vectors * weight[:, None])
    sizes = np.bincount(code, weights=weight, minlength=len(names))
    left = weight.sum() - sizes
    centroids = (sums.sum(0) - sums) / np.maximum(left, 1)[:, None]
    return centroids, np.where(left[code] > 0, code, -1)


def sample_means(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Mean of ``values`` within each sample, in the order of the samples' names; NaN values are left out."""
    finite = np.isfinite(values)
    _, code = np.unique(samples[finite], return_inverse=True)
    return np.bincount(code, weights=values[finite]) / np.maximum(np.bincount(code), 1)
