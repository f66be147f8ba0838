"""Centroids come from cells that are apart, and cosines and sample means are what a loop gives."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.perturbation._shift import held_out_centroids, inliers, sample_means, state_cosines


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


def test_inliers_leave_strangers_out() -> None:
    """A tenth of the cells that lie elsewhere are the ones left out, and held-out centroids do without them."""
    rng = np.random.default_rng(0)
    vectors = np.concatenate([5 + rng.normal(size=(45, 8)), -5 + rng.normal(size=(5, 8))])
    kept = inliers(vectors)
    assert kept[:45].all() and not kept[45:].any()
    samples = np.array(["a", "b"] * 25)
    apart, own = held_out_centroids(vectors, samples, counted=kept)
    for name, row in (("a", 0), ("b", 1)):
        np.testing.assert_allclose(apart[row], vectors[kept & (samples != name)].mean(0))
    assert list(own) == [0, 1] * 25
    _, none = held_out_centroids(vectors, samples, counted=samples == "a")
    assert set(none[samples == "a"]) == {-1} and set(none[samples == "b"]) == {1}
