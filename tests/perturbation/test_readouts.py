"""Readouts of moved embeddings against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.perturbation._readouts import (
    AgeChange,
    ByGroup,
    Displacement,
    DotChange,
    LinearPart,
    ProbabilityChange,
    TokenMove,
    TowardsStates,
)
from scflyformer.stats._linear import LinearHead


@pytest.fixture
def moved() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings before and after, and the cell each copy came from."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), np.array([0, 1, 2, 3, 0, 1, 2])


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two vectors."""
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_towards_states(moved: tuple) -> None:
    before, after, source = moved
    centroids, states = np.random.default_rng(1).normal(size=(3, 5)), np.array([[0, 1], [2, -1], [1, 1], [0, 2]])
    found = TowardsStates(centroids, states)(before, after, source)
    for copy, cell in enumerate(source):
        for state, which in enumerate(states[cell]):
            want = cosine(after[copy], centroids[which]) - cosine(before[copy], centroids[which])
            assert found[copy, state] == pytest.approx(want) if which >= 0 else np.isnan(found[copy, state])


def test_dots_are_with_directions_of_length_1(moved: tuple) -> None:
    """Behind the last vector there is nothing."""
    before, after, source = moved
    vectors = np.random.default_rng(1).normal(size=(3, 5))
    found = DotChange(vectors, 4)(before, after, source)
    assert found.shape == (7, 4) and np.isnan(found[:, 3]).all()
    for copy in range(7):
        for place, vector in enumerate(vectors):
            change = cosine(after[copy], vector) - cosine(before[copy], vector)
            assert found[copy, place] == pytest.approx(change * np.linalg.norm(vector))
    longer = DotChange(vectors, 3)(3 * before, 0.1 * after, source)
    np.testing.assert_allclose(longer, found[:, :3])


def test_displacement_is_the_chord(moved: tuple) -> None:
    before, after, source = moved
    found = Displacement()(before, after, source)
    expected = [np.sqrt(2 - 2 * cosine(*pair)) for pair in zip(before, after, strict=True)]
    np.testing.assert_allclose(found[:, 0], expected)
    assert not Displacement()(before, 2 * before, source).round(7).any()


def test_the_linear_part_leaves_the_token_as_it_was(moved: tuple) -> None:
    """Another readout of the old token, two numbers here, beside the new code."""
    before, after, source = moved
    towards = TowardsStates(np.random.default_rng(1).normal(size=(1, 5)), np.zeros((4, 1), dtype=int))
    part = LinearPart(towards, 2)
    assert part.width == 1
    mixed = np.array([[*old[:2], *new[2:]] for old, new in zip(before, after, strict=True)])
    np.testing.assert_allclose(part(before, after, source), towards(before, mixed, source))
    only_token = np.array([[*new[:2], *old[2:]] for old, new in zip(before, after, strict=True)])
    assert not part(before, only_token, source).any() and towards(before, only_token, source).all()


def test_age_probability_and_token(moved: tuple) -> None:
    before, after, source = moved
    rng = np.random.default_rng(2)
    slopes, offsets, clock = rng.normal(size=(2, 5)), rng.normal(size=2), np.array([0, 1, 1, 0])
    age = AgeChange(slopes, offsets, clock, np.exp2)(before, after, source)[:, 0]
    head = LinearHead(rng.normal(size=5), rng.uniform(1, 2, size=5), rng.normal(size=(3, 5)), rng.normal(size=3))
    classes = np.array([2, 0, 1, 2])
    probability = ProbabilityChange(head, 1.7, classes)(before, after, source)[:, 0]
    for copy, cell in enumerate(source):
        old, new = (np.exp2(part[copy] @ slopes[clock[cell]] + offsets[clock[cell]]) for part in (before, after))
        assert age[copy] == pytest.approx(new - old)
        said = [np.exp(head(part[copy][None])[0] / 1.7) for part in (before, after)]
        old, new = (part[classes[cell]] / part.sum() for part in said)
        assert probability[copy] == pytest.approx(new - old)
    np.testing.assert_allclose(TokenMove(3)(before, after, source), (after - before)[:, :3])


def test_by_group_numbers_cells_within_their_group(moved: tuple) -> None:
    before, after, source = moved
    rng = np.random.default_rng(3)
    whole = TowardsStates(rng.normal(size=(4, 5)), np.array([[0], [1], [2], [3]]))
    parts = [TowardsStates(whole.centroids, whole.states[:1]), None, TowardsStates(whole.centroids, whole.states[2:])]
    found = ByGroup(parts, [1, 1, 2], 1)(before, after, source)
    want = whole(before, after, source)
    want[source == 1] = np.nan
    np.testing.assert_allclose(found, want)
