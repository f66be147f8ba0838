"""Whether two states can be told apart in cells that had no say in where the states lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST = 0.6
"""Least area under the curve, its interval above 0.5, for which a shift between the states is read."""
CHUNKS = 5
"""Parts that the cells of a state are dealt to where it has a single sample."""


@dataclass(frozen=True)
class Separability:
    """How well held-out cells of two states are told apart.

    Attributes
    ----------
    auroc
        Chance that a goal cell is placed nearer to the goal than a start cell.
    low, high
        Its 95 % bootstrap interval over samples (or chunks of cells).
    held_out
        ``"sample"``: whole samples; ``"cell"``: chunks of cells, because a state has a single sample.
    """

    auroc: float
    low: float
    high: float
    held_out: str

    @property
    def interpretable(self) -> bool:
        """Whether a shift towards the goal means something."""
        return bool(self.auroc >= LEAST and self.low > 0.5)


def separability(
    start: np.ndarray,
    goal: np.ndarray,
    samples: tuple[np.ndarray, np.ndarray],
    names: tuple[np.ndarray, np.ndarray],
    *,
    n_boot: int = 500,
    seed: int = 0,
) -> Separability:
    """Place cells between centroids of other samples, and compare the places of the two states.

    Cells of one sample of each state are compared at a time, with centroids that do without both samples: a state from
    which more were left out than from the other would lie further away for that alone.

    Parameters
    ----------
    start, goal
        Embeddings, shape (n_cells, width) each.
    samples
        Sample of each start cell and of each goal cell.
    names
        Name of each, so that chunks do not depend on the order of cells.
    n_boot, seed
        Draws of the interval, seed.
    """
    whole = all(len(np.unique(part)) > 1 for part in samples)
    if whole:
        units = [part.astype(str) for part in samples]
    else:
        units = [_chunks(part.astype(str), seed) for part in names]
    held_out, cells = "sample" if whole else "cell", [_directions(start), _directions(goal)]
    names_of = [np.unique(own) for own in units]
    sums = [{name: vectors[own == name].astype(np.float64).sum(0) for name in known}
            for vectors, own, known in zip((start, goal), units, names_of, strict=True)]  # fmt: skip
    parts = [
        [vectors[own == name] for name in known] for vectors, own, known in zip(cells, units, names_of, strict=True)
    ]
    wins = np.empty((len(parts[0]), len(parts[1])))
    for row, first in enumerate(names_of[0]):
        for column, last in enumerate(names_of[1]):
            rest = [[total for name, total in own.items() if name not in (first, last)] for own in sums]
            if not all(rest):
                return Separability(float("nan"), float("nan"), float("nan"), held_out)
            from_start, to_goal = (_directions(np.sum(own, axis=0)[None])[0] for own in rest)
            starts, goals = (part @ (to_goal - from_start) for part in (parts[0][row], parts[1][column]))
            below, up_to = (np.searchsorted(np.sort(starts), goals, side=side) for side in ("left", "right"))
            wins[row, column] = (below + up_to).sum() / 2
    low, high = _interval(wins, [np.array([len(part) for part in own]) for own in parts], n_boot, seed)
    return Separability(float(wins.sum() / (len(start) * len(goal))), low, high, held_out)


def _directions(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _chunks(names: np.ndarray, seed: int) -> np.ndarray:
    """Deal cells to chunks by chance, whatever their order."""
    out = np.empty(len(names), dtype=object)
    order = np.random.default_rng(seed).permutation(len(names))
    out[np.argsort(names, kind="stable")[order]] = [f"chunk {place % CHUNKS}" for place in range(len(names))]
    return out.astype(str)


def _interval(wins: np.ndarray, sizes: list[np.ndarray], n_boot: int, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the area under the curve over samples, from the wins between each two."""
    rng, draws = np.random.default_rng(seed), []
    for _ in range(n_boot):
        first, last = (
            np.bincount(rng.integers(len(size), size=len(size)), minlength=len(size)).astype(float) for size in sizes
        )
        draws.append((first @ wins @ last) / ((first @ sizes[0]) * (last @ sizes[1])))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
