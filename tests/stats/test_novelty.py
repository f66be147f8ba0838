"""Strange cells are found strange; cells like the reference are placed evenly among it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from scflyformer.stats._classification import IMPOSSIBLE
from scflyformer.stats._novelty import ClassDistance, NearCells, Novelty, energy, held_out_novelty

RANDOM = np.random.default_rng(0)
CENTRES = np.array([[4.0, 0, 0, 0], [0, 4, 0, 0], [-4, -4, 0, 0]])
SPREAD = np.array([[1.0, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 0.2]])


def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of three classes with one covariance, and the classes."""
    y = RANDOM.integers(0, 3, n)
    return CENTRES[y] + RANDOM.multivariate_normal(np.zeros(4), SPREAD, n), y


def logits(x: np.ndarray) -> np.ndarray:
    """Return the true classes' log densities, up to a constant."""
    return np.stack([stats.multivariate_normal(centre, SPREAD).logpdf(x) for centre in CENTRES], axis=1)


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    """Learnt from 4,000 cells and placed by 4,000 others."""
    nearest = ClassDistance.fit(*draw(4000))
    held_out, _ = draw(4000)
    return Novelty.fit(nearest, logits(held_out), nearest(held_out))


def test_distance_is_mahalanobis() -> None:
    x, y = draw(50_000)
    found = ClassDistance.fit(x, y)
    new, _ = draw(200)
    ridge = SPREAD + 0.1 * np.trace(SPREAD) / 4 * np.eye(4)
    gaps = new[:, None] - CENTRES
    expected = np.einsum("ncd,de,nce->nc", gaps, np.linalg.inv(ridge), gaps).min(axis=1)
    np.testing.assert_allclose(found(new), expected, rtol=0.1, atol=0.05)


def test_class_codes_need_not_follow_one_another() -> None:
    x, y = draw(300)
    np.testing.assert_allclose(ClassDistance.fit(x, y * 7)(x), ClassDistance.fit(x, y)(x))


def test_fewer_cells_than_features_still_give_a_distance() -> None:
    x = RANDOM.normal(size=(12, 40))
    distance = ClassDistance.fit(x, np.arange(12) % 3)(RANDOM.normal(size=(5, 40)))
    assert np.isfinite(distance).all() and (distance > 0).all()


def test_like_cells_are_placed_evenly(novelty: Novelty) -> None:
    new, _ = draw(4000)
    place = novelty(new, logits(new))
    assert stats.kstest(place, "uniform").statistic < 0.04
    assert (place > 0.99).mean() == pytest.approx(0.01, abs=0.006)


def test_strange_cells_are_placed_high_and_still_differ(novelty: Novelty) -> None:
    strange = np.array([8.0, 8, 0, 0]) + RANDOM.normal(size=(200, 4))
    place = novelty(strange, logits(strange))
    assert place.min() > 0.99
    farther = 2 * strange
    assert (novelty(farther, logits(farther)) > place).all()


def test_a_class_never_seen_has_no_energy() -> None:
    found = energy(np.array([[1.0, IMPOSSIBLE], [1.0, 1.0]]))
    np.testing.assert_allclose(found, [-1, -1 - np.log(2)])


def test_cells_near_a_group_are_told_from_others() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 8, (4, 5))
    groups = np.repeat(np.arange(4), 100)
    x, folds = centres[groups] + rng.normal(size=(400, 5)), np.tile(np.arange(4), 100)
    near = NearCells.fit(x, groups, folds, share=0.99)
    new = centres[groups] + rng.normal(size=(400, 5))
    assert 0.96 < near(new).mean() <= 1
    assert not near(rng.normal(0, 8, (200, 5)) + 40).any()
    assert NearCells.fit(x, groups, folds, share=0.5).limit < near.limit


def test_a_strange_sample_is_strange_to_the_others() -> None:
    """Among quantiles that it had a part in, a hundredth of all cells is novel, whatever they are like."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 200)
    distance = rng.chisquare(4, 1000) + np.where(groups == 2, 20, 0)
    logits = np.zeros((1000, 3))
    apart = held_out_novelty(logits, distance, groups)
    within = Novelty.fit(ClassDistance.fit(*draw(50)), logits, distance).score(logits, distance)
    assert (within > 0.99).mean() == pytest.approx(0.01, abs=0.003)
    assert (apart > 0.99)[groups == 2].mean() > 0.3 and (apart > 0.99)[groups != 2].mean() < 0.01
    moved = np.where(groups == 4, 3 * distance, distance)
    same = held_out_novelty(logits, moved, groups)[groups == 4] >= apart[groups == 4]
    assert same.all()  # its own cells have no part in what it is held against
