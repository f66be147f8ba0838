"""Shifts towards permuted states: what a shift would be if the names of the states meant nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from scflyformer.perturbation._readouts import ByGroup, TowardsLabels

if TYPE_CHECKING:
    from scflyformer.perturbation._cells import EmbeddedCells, StateGroup

CHUNKS = 10
"""Parts that the cells of a state in a sample are dealt to, where samples hold cells of both states."""


def permuted_states(groups: list[StateGroup], embedded: EmbeddedCells, *, n: int, seed: int) -> ByGroup | None:
    """Return shifts of the cells of all groups towards the goal, then towards goals of permuted states."""
    if not n:
        return None
    parts = []
    for group in groups:
        cells = np.concatenate([group.start, group.goal])
        goal = np.repeat([False, True], [len(group.start), len(group.goal)])
        edited = np.searchsorted(group.start, group.cells)
        samples, names = embedded.samples[cells], embedded.names[cells]
        parts.append(permuted_labels(embedded.vectors[cells], goal, samples, names, edited, n=n, seed=seed))
    return ByGroup(parts, [len(group.cells) for group in groups], n + 1)


def permuted_labels(
    vectors: np.ndarray,
    goal: np.ndarray,
    samples: np.ndarray,
    names: np.ndarray,
    held_against: np.ndarray,
    *,
    n: int,
    seed: int,
) -> TowardsLabels | None:
    """Prepare shifts towards goals drawn by chance.

    Where each sample is of one state, whole samples change their state; otherwise chunks of cells do, within samples.
    The draw does not depend on the order of cells. The readout has the true states first; `None` without permutations,
    or where there is nothing to permute.

    Parameters
    ----------
    vectors
        Embeddings of the start and goal cells, shape (n_cells, width).
    goal
        Which of them are goal cells, bool, shape (n_cells,).
    held_against
        Positions among them of the cells that are edited, in the order of the copies' sources.
    """
    text = samples.astype(str)
    mixed = np.intersect1d(text[goal], text[~goal])
    unit = text
    if len(mixed):
        parts = zip(text, goal, _chunks_by_name(names, seed), strict=True)
        unit = np.array([f"{sample}\n{state:d}\n{chunk}" for sample, state, chunk in parts])
    units, first, code = np.unique(unit, return_index=True, return_inverse=True)
    state, block = goal[first], text[first] if len(mixed) else np.zeros(len(units), dtype=int)
    if n == 0 or len(units) < 3:
        return None
    sums = np.zeros((len(units), vectors.shape[1]))
    np.add.at(sums, code, vectors.astype(np.float64))
    rng = np.random.default_rng(seed)
    goals = np.tile(state, (n + 1, 1))
    for name in np.unique(block):
        inside = np.flatnonzero(block == name)
        goals[1:, inside] = rng.permuted(goals[1:, inside], axis=1)
    return TowardsLabels(sums, goals, code[held_against])


def _chunks_by_name(names: np.ndarray, seed: int) -> np.ndarray:
    """Return a chunk of each cell by its name alone."""
    return np.array([crc32(f"{seed}:{name}".encode()) % CHUNKS for name in names])
