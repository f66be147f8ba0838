"""Each perturbed cell is held against centroids of other cells."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.perturbation._cells import EmbeddedCells, StateGroup
from scflyformer.perturbation._make_readouts import towards_states

SAMPLES = np.array([f"s{n % 3}" for n in range(40)])


def _group(name: str, start: slice, goal: slice, alt: slice) -> StateGroup:
    cells = np.arange(40)
    return StateGroup(name, cells[start][::2], cells[start], cells[goal], [cells[alt]])


def test_shifts_towards_states_equal_a_loop() -> None:
    """The start centroid is of the other samples' cells; a state without cells has none."""
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    moved = vectors + np.random.default_rng(1).normal(size=vectors.shape)
    cells = EmbeddedCells(np.arange(40).astype(str), SAMPLES, None, vectors)
    groups = [
        _group("a", slice(0, 12), slice(12, 20), slice(20, 24)),
        _group("b", slice(24, 33), slice(33, 40), slice(0, 0)),
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
            for column, others in enumerate((group.goal, apart, group.alt[0])):
                if not len(others):
                    assert np.isnan(found[at, column])
                    continue
                centroid = vectors[others].astype(float).mean(0)
                change = cosine(moved[cell], centroid) - cosine(vectors[cell].astype(float), centroid)
                assert found[at, column] == pytest.approx(change, abs=1e-12)
            at += 1
