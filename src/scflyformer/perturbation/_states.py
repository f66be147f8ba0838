"""What is known of the states before anything is edited: whether they can be told apart, and by which genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer.data import _adata
from scflyformer.data._tables import text_index
from scflyformer.perturbation._shift import unit_vectors

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.data._reading import Reading
    from scflyformer.models import Model
    from scflyformer.perturbation._cells import EmbeddedCells, StateGroup

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
    which more were left out than from the other would lie further away for that alone. ``samples`` and ``names`` are
    those of the start cells and of the goal cells; by their names, chunks do not depend on the order of cells.
    """
    whole = all(len(np.unique(part)) > 1 for part in samples)
    if whole:
        units = [part.astype(str) for part in samples]
    else:
        units = [_random_chunks(part.astype(str), seed) for part in names]
    held_out, cells = "sample" if whole else "cell", [unit_vectors(state.astype(np.float64)) for state in (start, goal)]
    names_of = [np.unique(unit) for unit in units]
    sums = [
        {name: vectors[unit == name].astype(np.float64).sum(0) for name in known}
        for vectors, unit, known in zip((start, goal), units, names_of, strict=True)
    ]
    parts = [
        [vectors[unit == name] for name in known] for vectors, unit, known in zip(cells, units, names_of, strict=True)
    ]
    wins = np.empty((len(parts[0]), len(parts[1])))
    for row, first in enumerate(names_of[0]):
        for column, last in enumerate(names_of[1]):
            rest = [[total for name, total in by_unit.items() if name not in (first, last)] for by_unit in sums]
            if not all(rest):
                return Separability(float("nan"), float("nan"), float("nan"), held_out)
            from_start, to_goal = (unit_vectors(np.sum(totals, axis=0)[None])[0] for totals in rest)
            starts, goals = (part @ (to_goal - from_start) for part in (parts[0][row], parts[1][column]))
            below, up_to = (np.searchsorted(np.sort(starts), goals, side=side) for side in ("left", "right"))
            wins[row, column] = (below + up_to).sum() / 2
    sizes = [np.array([len(cells_of_unit) for cells_of_unit in by_unit]) for by_unit in parts]
    low, high = _auroc_interval(wins, sizes, n_boot, seed)
    return Separability(float(wins.sum() / (len(start) * len(goal))), low, high, held_out)


def _random_chunks(names: np.ndarray, seed: int) -> np.ndarray:
    """Deal cells to chunks by chance, whatever their order."""
    out = np.empty(len(names), dtype=object)
    order = np.random.default_rng(seed).permutation(len(names))
    out[np.argsort(names, kind="stable")[order]] = [f"chunk {place % CHUNKS}" for place in range(len(names))]
    return out.astype(str)


def _auroc_interval(wins: np.ndarray, sizes: list[np.ndarray], n_boot: int, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the area under the curve over samples, from the wins between each two."""
    rng, draws = np.random.default_rng(seed), []
    for _ in range(n_boot):
        first, last = (
            np.bincount(rng.integers(len(size), size=len(size)), minlength=len(size)).astype(float) for size in sizes
        )
        draws.append((first @ wins @ last) / ((first @ sizes[0]) * (last @ sizes[1])))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def separability_table(groups: list[StateGroup], cells: EmbeddedCells, *, seed: int) -> pd.DataFrame:
    """Return how well held-out start and goal cells of each group are told apart by the embedding."""
    rows = []
    for group in groups:
        start, goal = group.start, group.goal
        result = separability(
            cells.vectors[start],
            cells.vectors[goal],
            (cells.samples[start], cells.samples[goal]),
            (cells.names[start].astype(str), cells.names[goal].astype(str)),
            seed=seed,
        )
        rows.append(
            {
                "group": group.name,
                "auroc": result.auroc,
                "ci_low": result.low,
                "ci_high": result.high,
                "held_out": result.held_out,
                "n_start": len(start),
                "n_goal": len(goal),
                "interpretable": result.interpretable,
            }
        )
    return text_index(pd.DataFrame(rows))


def log_fold_changes(
    adata: AnnData, groups: list[StateGroup], samples: np.ndarray, model: Model, reading: Reading
) -> np.ndarray:
    """Return log2 of goal over start expression of every gene of the model, float64, shape (n_groups, n_genes).

    Of the mean over sample means of log1p of counts per 10,000, taken out of the logarithm, as
    :func:`scanpy.tl.rank_genes_groups` does; NaN for a gene that was not measured.
    """
    matrix, gene_ids = _adata.log_expression(adata, reading, model=model)
    measured = np.isin(model.vocabulary.gene_ids, gene_ids)  # both in vocabulary order
    out = np.full((len(groups), len(measured)), np.nan)
    for number, group in enumerate(groups):
        level = []
        for cells in (group.start, group.goal):
            _, code, size = np.unique(samples[cells].astype(str), return_inverse=True, return_counts=True)
            level.append(np.expm1(matrix[cells].T @ (1 / (size[code] * len(size)))))
        out[number, measured] = np.log2((level[1] + 1e-9) / (level[0] + 1e-9))
    return out
