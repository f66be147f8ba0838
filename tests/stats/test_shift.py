"""Centroids come from cells that are apart, and cosines and sample means are what a loop gives."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.stats._shift import held_out_centroids, sample_means, state_cosines


def test_cosines_equal_a_loop() -> None:
    """Each cell against its own centroids; no centroid or no length gives NaN without a warning."""
    rng = np.random.default_rng(0)
    vectors, centroids = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(3, 4))
    vectors[4] = 0
    which = np.array([[0, 1], [2, 2], [1, -1], [0, 0], [1, 1]])
    cosines = state_cosines(vectors, centroids, which)
    for i, j in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1)]:
        v, m = vectors[i].astype(float), centroids[which[i, j]]
        assert cosines[i, j] == pytest.approx(v @ m / np.sqrt((v @ v) * (m @ m)), abs=1e-12)
    assert np.isnan(cosines[2, 1]) and np.isnan(cosines[4]).all()


@pytest.mark.parametrize("samples", [np.array(["b", "a", "b", "c", "a"]), np.array(["a"] * 5)])
def test_held_out_centroids_leave_the_own_sample_or_cell_out(samples: np.ndarray) -> None:
    """With two samples or more the own sample is left out, otherwise the own cell."""
    vectors = np.random.default_rng(1).normal(size=(5, 3))
    centroids, which = held_out_centroids(vectors, samples)
    for cell in range(5):
        several = len(set(samples)) > 1
        apart = samples != samples[cell] if several else np.arange(5) != cell
        assert centroids[which[cell]] == pytest.approx(vectors[apart].mean(0))


def test_a_state_of_one_cell_has_no_held_out_centroid() -> None:
    """Nothing is apart from the only cell."""
    centroids, which = held_out_centroids(np.ones((1, 3)), np.array(["a"]))
    assert len(centroids) == 0 and which.tolist() == [-1]


def test_sample_means() -> None:
    """Means in the order of the samples' names; NaN left out."""
    values, samples = np.array([1.0, 2.0, 5.0, np.nan]), np.array(["b", "a", "b", "c"])
    assert sample_means(values, samples).tolist() == [2.0, 3.0]
