"""Each perturbed cell is held against centroids of other cells."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scflyformer.perturbation._cells import EmbeddedCells, StateGroup
from scflyformer.perturbation._make_readouts import make_readouts, towards_states
from scflyformer.perturbation._shift import unit_vectors

SAMPLES = np.array([f"s{n % 3}" for n in range(40)])


def _group(name: str, start: slice, goal: slice, alt: slice) -> StateGroup:
    cells = np.arange(40)
    return StateGroup(name, cells[start][::2], cells[start], cells[goal], [cells[alt]])


def test_shifts_towards_states_equal_a_loop() -> None:
    """Start and goal are of the other samples' cells; the goal of all where there are none; no cells, no centroid."""
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    moved = vectors + np.random.default_rng(1).normal(size=vectors.shape)
    cells = EmbeddedCells(np.arange(40).astype(str), SAMPLES, None, vectors)
    groups = [
        _group("a", slice(0, 12), slice(12, 20), slice(20, 24)),
        _group("b", slice(24, 33), slice(33, 40), slice(0, 0)),
        _group("c", slice(24, 33), slice(36, 37), slice(0, 0)),
    ]
    towards = towards_states(groups, cells, "mean")
    edited = np.concatenate([group.cells for group in groups])
    found = towards(vectors[edited], moved[edited], np.arange(len(edited)))

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float(x @ y / np.sqrt((x @ x) * (y @ y)))

    at = 0
    for group in groups:
        for cell in group.cells:
            apart = group.start[SAMPLES[group.start] != SAMPLES[cell]]
            goal = group.goal[SAMPLES[group.goal] != SAMPLES[cell]] if len(group.goal) > 1 else group.goal
            for column, others in enumerate((goal, apart, group.alt[0])):
                if not len(others):
                    assert np.isnan(found[at, column])
                    continue
                centroid = vectors[others].astype(float).mean(0)
                change = cosine(moved[cell], centroid) - cosine(vectors[cell].astype(float), centroid)
                assert found[at, column] == pytest.approx(change, abs=1e-12)
            at += 1


def test_a_goal_of_samples_of_its_own_has_one_centroid() -> None:
    """It is that of all its cells, whichever cell is edited."""
    samples = np.array([f"s{n % 3}" for n in range(12)] + ["t", "u"] * 4)
    vectors = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    cells = EmbeddedCells(np.arange(20).astype(str), samples, None, vectors)
    group = StateGroup("a", np.arange(12), np.arange(12), np.arange(12, 20), [])
    towards = towards_states([group], cells, "mean")
    assert len(np.unique(towards.states[:, 0])) == 1
    np.testing.assert_allclose(towards.centroids[towards.states[0, 0]], vectors[12:].astype(float).mean(0))


def test_readouts_of_a_code_tell_its_linear_part(make_network: Callable) -> None:
    """Net shifts, then their two parts; dots towards the samples of each group, with the seed's permutations."""
    vectors = np.random.default_rng(0).normal(size=(40, 20)).astype(np.float32)
    samples = np.array([f"s{n % 10}" for n in range(40)])
    cells = EmbeddedCells(np.arange(40).astype(str), samples, None, vectors)
    groups = [
        _group("a", slice(0, 20), slice(20, 40), slice(0, 0)),
        _group("b", slice(0, 4), slice(4, 8), slice(8, 12)),
    ]
    request: Any = SimpleNamespace(clock=None, classifier=None, centroid="mean", downstream=0, screens=False,
                                   n_label=30, seed=0)  # fmt: skip
    found = {}
    for code in ({"code_size": 4, "n_directions": 6}, {}):
        network = make_network(**code)
        model: Any = SimpleNamespace(
            pooling="cell", hidden_size=16, network=lambda own=network: own, has_cell_token=True
        )
        found[bool(code)] = make_readouts(model, groups, cells, request, states=["goal", "start", "x"], pooling="cell")
    shifts = ["shift", "shift_start", "shift_x", "net_shift"]
    assert found[True].columns == [*shifts, "net_shift_linear", "net_shift_transformer"]
    assert found[False].columns == shifts
    assert [part.has_linear_part for part in found.values()] == [True, False]
    readouts = found[True]
    assert [len(states.goal) for states in readouts.states] == [20, 8]
    goals = readouts.permuted[0]
    assert goals is not None and goals.shape == (31, 20) and readouts.permuted[1] is None
    dots, linear, size = readouts.sums
    assert (dots.width, linear.width, size.width) == (20, 20, 1)
    moved = vectors[:12] + 1
    inside = np.arange(12)
    units = [unit_vectors(part.astype(float)) for part in (moved, vectors[:12])]
    read = dots(vectors[:12], moved, inside)
    np.testing.assert_allclose(read[:10], (units[0] - units[1])[:10] @ readouts.states[0].sums.T)
    np.testing.assert_allclose(read[10:, :8], (units[0] - units[1])[10:] @ readouts.states[1].sums.T)
    assert np.isnan(read[10:, 8:]).all()
