"""Whether two states can be told apart in cells that had no say in where the states lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scflyformer.stats._shift import held_out_centroids, state_cosines

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
    """Place each cell between centroids of other samples, and compare the places of the two states.

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
    every, state = np.concatenate([start, goal]), np.repeat([0, 1], [len(start), len(goal)])
    unit = np.concatenate(units)
    centroids, which, ahead = [], np.full((len(every), 2), -1, dtype=np.int64), 0
    for number, vectors in enumerate((start, goal)):
        apart, _ = held_out_centroids(vectors, units[number])
        if len(apart) == 0:
            return Separability(float("nan"), float("nan"), float("nan"), "sample" if whole else "cell")
        own = np.unique(units[number])
        at = np.searchsorted(own, unit).clip(max=len(own) - 1)
        held = own[at] == unit
        which[held, number] = ahead + at[held]
        which[~held, number] = ahead + len(apart)  # a unit without cells of the state leaves none out
        centroids += [apart, vectors.astype(np.float64).mean(0, keepdims=True)]
        ahead += len(apart) + 1
    cosines = state_cosines(every, np.concatenate(centroids), which)
    score = cosines[:, 1] - cosines[:, 0]
    low, high, auroc = _bootstrapped(score, state, unit, n_boot, seed)
    return Separability(auroc, low, high, "sample" if whole else "cell")


def _chunks(names: np.ndarray, seed: int) -> np.ndarray:
    """Deal cells to chunks by chance, whatever their order."""
    out = np.empty(len(names), dtype=object)
    order = np.random.default_rng(seed).permutation(len(names))
    out[np.argsort(names, kind="stable")[order]] = [f"chunk {place % CHUNKS}" for place in range(len(names))]
    return out.astype(str)


def _bootstrapped(
    score: np.ndarray, state: np.ndarray, unit: np.ndarray, n_boot: int, seed: int
) -> tuple[float, float, float]:
    """Return the interval and the area under the curve, from the wins between each start and each goal unit."""
    own = [(score[state == number], unit[state == number]) for number in (0, 1)]
    parts = [[values[units == name] for name in np.unique(units)] for values, units in own]
    sizes = [np.array([len(part) for part in several]) for several in parts]
    wins = np.empty((len(parts[0]), len(parts[1])))
    for row, starts in enumerate(parts[0]):
        ordered = np.sort(starts)
        for column, goals in enumerate(parts[1]):
            below, up_to = (np.searchsorted(ordered, goals, side=side) for side in ("left", "right"))
            wins[row, column] = (below + up_to).sum() / 2
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(n_boot):
        first, last = (
            np.bincount(rng.integers(len(size), size=len(size)), minlength=len(size)).astype(float) for size in sizes
        )
        draws.append((first @ wins @ last) / ((first @ sizes[0]) * (last @ sizes[1])))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high), float(wins.sum() / (sizes[0].sum() * sizes[1].sum()))
