"""What a move of a cell's embedding means: towards states, in predicted age, in a class's probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from scflyformer.perturbation._shift import state_cosines, unit_vectors
from scflyformer.stats._classification import softmax


class Readout(Protocol):
    """Turns embeddings before and after an edit into numbers, ``width`` of them an edited copy."""

    width: int

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return the numbers of each copy, float64, shape (n_copies, width).

        ``before`` and ``after`` are embeddings, shape (n_copies, embedding size) each; ``source`` is the cell that each
        copy was made from, int64, shape (n_copies,).
        """
        ...


class TowardsStates:
    """Change in the cosine with each state's centroid.

    ``states`` is the place of the centroid of each cell for each state; negative where there is none, shape (n_cells,
    n_states).
    """

    def __init__(self, centroids: np.ndarray, states: np.ndarray) -> None:
        self.centroids, self.states, self.width = centroids, states, states.shape[1]

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return the changes; NaN where a state has no centroid for a cell."""
        which = self.states[source]
        return state_cosines(after, self.centroids, which) - state_cosines(before, self.centroids, which)


class LinearPart:
    """Another readout of what the profile code alone does: the cell token, the first ``token`` numbers, stays.

    What the transformer adds is in the token; the code is made of the cell's values without it.
    """

    def __init__(self, readout: Readout, token: int) -> None:
        self.readout, self.token, self.width = readout, token, readout.width

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return what is read of the old token beside the new code."""
        return self.readout(before, np.concatenate([before[:, : self.token], after[:, self.token :]], axis=1), source)


class DotChange:
    """Change in the dot product of the cell's direction with each of some vectors, float64, shape (n_vectors, width).

    ``width`` numbers a copy, NaN behind the last vector.
    """

    def __init__(self, vectors: np.ndarray, width: int) -> None:
        self.vectors, self.width = vectors, width

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return after less before, both of length 1."""
        out = np.full((len(before), self.width), np.nan)
        change = unit_vectors(after.astype(np.float64)) - unit_vectors(before.astype(np.float64))
        out[:, : len(self.vectors)] = change @ self.vectors.T
        return out


class Displacement:
    """How far the cell's direction moves, whatever the direction."""

    width = 1

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return the length of after less before, both of length 1."""
        change = unit_vectors(after.astype(np.float64)) - unit_vectors(before.astype(np.float64))
        return np.linalg.norm(change, axis=1, keepdims=True)


class AgeChange:
    """Change in the age that a linear clock predicts.

    Parameters
    ----------
    slopes
        Change of the clock's target per unit of each feature, by clock, shape (n_clocks, embedding size).
    offsets
        The target where all features are 0, shape (n_clocks,).
    clock
        The clock of each cell, int64, shape (n_cells,).
    """

    width = 1

    def __init__(
        self, slopes: np.ndarray, offsets: np.ndarray, clock: np.ndarray, to_age: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        self.slopes, self.offsets, self.clock, self.to_age = slopes, offsets, clock, to_age

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return new minus old age."""
        which = self.clock[source]
        slopes, offsets = self.slopes[which], self.offsets[which]
        old, new = (np.einsum("ij,ij->i", part.astype(np.float64), slopes) + offsets for part in (before, after))
        return (self.to_age(new) - self.to_age(old))[:, None]


class ProbabilityChange:
    """Change in the probability that a classifier gives to one class of each cell.

    ``head`` turns embeddings into logits; ``classes`` is the class of each cell, int64, shape (n_cells,).
    """

    width = 1

    def __init__(self, head: Any, temperature: float, classes: np.ndarray) -> None:
        self.head, self.temperature, self.classes = head, temperature, classes

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return new minus old probability."""
        which = np.arange(len(source)), self.classes[source]
        old, new = (softmax(self.head(part), self.temperature)[which] for part in (before, after))
        return (new - old)[:, None]


class TokenMove:
    """Move of the cell token, the first part of the embedding, from which the decoder gives expression."""

    def __init__(self, hidden_size: int) -> None:
        self.width = hidden_size

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return after minus before."""
        return after[:, : self.width].astype(np.float64) - before[:, : self.width]


class ByGroup:
    """Readouts of the same width, each for the cells of one group, `None` for a group without one.

    ``sizes`` are the numbers of cells of the groups; cells are numbered group by group.
    """

    def __init__(self, parts: list[Any], sizes: list[int], width: int) -> None:
        self.parts, self.ends, self.width = parts, np.cumsum(sizes), width

    def __call__(self, before: np.ndarray, after: np.ndarray, source: np.ndarray) -> np.ndarray:
        """Return the numbers of each copy; NaN in groups without a readout."""
        out, which = np.full((len(source), self.width), np.nan), np.searchsorted(self.ends, source, side="right")
        for number in np.unique(which):
            if (part := self.parts[number]) is not None:
                inside = which == number
                first = self.ends[number - 1] if number else 0
                out[inside] = part(before[inside], after[inside], source[inside] - first)
        return out
