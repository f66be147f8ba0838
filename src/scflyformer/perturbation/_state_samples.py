"""The samples of two states, and the states dealt anew to whole samples: what a shift is where names mean nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

if TYPE_CHECKING:
    from scflyformer.perturbation._cells import EmbeddedCells, StateGroup

N_PERMUTATIONS = 1000
"""Permutations of the states that a test draws."""
LEAST_PERMUTATIONS = 100
"""Different ways to deal the states below which there is no test: 5 samples of each state can be dealt in 252 ways."""
LEAST_SAMPLES = 3
"""Samples of each state below which there is no test."""
PARTS = 10
"""Parts of the start cells that stand for samples where they come from one."""


@dataclass(frozen=True, eq=False)
class StateSamples:
    """The cells of a group, summed up by sample and state.

    Attributes
    ----------
    sums
        Sum of the embeddings of the cells of a sample in a state, float64, shape (n_units, width).
    goal
        Whether that state is the goal, bool, shape (n_units,).
    sample
        Number of the sample, int64, shape (n_units,).
    own
        Number of the sample of each edited cell, int64, shape (n_edited,).
    in_parts
        Whether parts of the start cells stand for samples.
    """

    sums: np.ndarray
    goal: np.ndarray
    sample: np.ndarray
    own: np.ndarray
    in_parts: bool = False

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return int(self.sample.max()) + 1

    def n_ways(self) -> int:
        """Return in how many ways the states can be dealt: anew to samples of one state, swapped in those of both."""
        both = np.bincount(self.sample) > 1
        single = self.goal[~both[self.sample]]
        return 2 ** int(both.sum()) * comb(len(single), int(single.sum()))

    def permuted_goals(self, *, n: int = N_PERMUTATIONS, seed: int = 0) -> np.ndarray | None:
        """Return which units are the goal in truth and in ``n`` permutations, bool, shape (1 + n, n_units).

        `None` where there are fewer than `LEAST_PERMUTATIONS` ways to deal the states, or `LEAST_SAMPLES` of one.
        """
        few = min(self.goal.sum(), (~self.goal).sum()) < LEAST_SAMPLES
        if n == 0 or few or self.in_parts or self.n_ways() < LEAST_PERMUTATIONS:
            return None
        random = np.random.default_rng(seed)
        both = (np.bincount(self.sample) > 1)[self.sample]
        goals = np.tile(self.goal, (n + 1, 1))
        goals[1:, ~both] = random.permuted(goals[1:, ~both], axis=1)
        swapped = random.random((n, self.n_samples)) < 0.5
        goals[1:] ^= swapped[:, self.sample] & both
        return goals

    def weights(self, goals: np.ndarray) -> np.ndarray:
        """Return what a dot product with each unit's sum adds to the cosine with the goal's and the start's centroid.

        No cell is held against cells of its own sample, unless no other sample is of the goal.

        Parameters
        ----------
        goals
            Which units are the goal, bool, shape (n_permutations, n_units).

        Returns
        -------
        Goal before start, float64, shape (2, n_permutations, n_samples, n_units); NaN where a start has no other
        sample.
        """
        gram, out = self.sums @ self.sums.T, np.zeros((2, len(goals), self.n_samples, len(self.goal)))
        for place, called in enumerate((goals, ~goals)):
            for own in np.unique(self.own):
                others = called & (self.sample != own)
                if place == 0:
                    others = np.where(others.any(1, keepdims=True), others, called)
                length = np.sqrt(((others @ gram) * others).sum(1))
                with np.errstate(divide="ignore", invalid="ignore"):
                    out[place, :, own] = others / np.where(length > 0, length, np.nan)[:, None]
        return out


def state_samples(group: StateGroup, embedded: EmbeddedCells, *, in_parts: bool = False) -> StateSamples:
    """Sum up a group's start and goal cells.

    With ``in_parts`` start cells that come from one sample are dealt to `PARTS` parts, which count as samples.
    """
    start, goal = group.start, group.goal
    of_start, of_goal = (embedded.samples[cells].astype(str) for cells in (start, goal))
    in_parts = in_parts and len(np.unique(of_start)) == 1
    if in_parts:
        of_start = np.char.add("part ", _parts_by_name(embedded.names[start]).astype(str))
    _, code = np.unique(np.concatenate([of_start, of_goal]), return_inverse=True)
    is_goal = np.repeat([False, True], [len(start), len(goal)])
    keys, unit = np.unique(2 * code + is_goal, return_inverse=True)
    vectors = embedded.vectors[np.concatenate([start, goal])].astype(np.float64)
    sums = np.zeros((len(keys), vectors.shape[1]))
    np.add.at(sums, unit, vectors)
    return StateSamples(sums, keys % 2 == 1, keys // 2, code[np.searchsorted(start, group.cells)], in_parts)


def _parts_by_name(names: np.ndarray) -> np.ndarray:
    """Return a part of each cell, as even as can be, by its name alone."""
    order = np.argsort([crc32(str(name).encode()) for name in names], kind="stable")
    parts = np.empty(len(names), dtype=np.int64)
    parts[order] = np.arange(len(names)) % PARTS
    return parts
