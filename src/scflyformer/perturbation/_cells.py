"""Cells of a run: embedded, and split into groups of which some are edited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._columns import text_of

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.data._states import State
    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows


@dataclass(frozen=True, eq=False)
class Embedder:
    """A network, how its vectors are pooled, and how it runs."""

    network: CellBert
    pooling: Pooling
    running: Running

    def embed(self, rows: TokenRows, *, counted: np.ndarray | None = None, bar: Any = None) -> np.ndarray:
        """Return the embedding of ranked cells as :func:`scflyformer.network._infer.embed_rows` makes it."""
        from scflyformer.network._infer import embed_rows

        return embed_rows(self.network, rows, pooling=self.pooling, counted=counted, bar=bar, running=self.running)


@dataclass(frozen=True, eq=False)
class EmbeddedCells:
    """All cells of an object, in its order.

    Attributes
    ----------
    names, samples
        Name of each cell, which settles the order of equals, and its sample; the same everywhere where there are none.
    rows
        Their tokens.
    vectors
        Their embedding, float32, shape (n_cells, width); zeros for cells that take no part.
    """

    names: np.ndarray
    samples: np.ndarray
    rows: TokenRows
    vectors: np.ndarray


@dataclass(frozen=True, eq=False)
class CellGroup:
    """The name of a group (``"all"`` where cells are not grouped), and its cells to edit, positions in `obs`."""

    name: str
    cells: np.ndarray


@dataclass(frozen=True, eq=False)
class StateGroup(CellGroup):
    """A group in which states are compared: all its start cells, its goal cells, and those of each alternative."""

    start: np.ndarray
    goal: np.ndarray
    alt: list[np.ndarray]


def split_into_groups(
    states: tuple[State, State, list[State]],
    usable: np.ndarray,
    labels: pd.Series | None,
    *,
    samples: np.ndarray,
    names: np.ndarray,
    max_cells: int | None,
    seed: int,
) -> tuple[list[StateGroup], list[str]]:
    """Return the groups that hold start and goal cells, by name, and the names of those that do not.

    ``states`` are start, goal and alternatives.
    """
    start, goal, alt = states
    if labels is None:
        codes, group_names = np.zeros(len(usable), dtype=np.int64), ["all"]
    else:
        factor = pd.Categorical(labels)
        codes, group_names = factor.codes, [text_of(label) for label in factor.categories]
    groups, without_states = [], []
    for code, name in enumerate(group_names):
        inside = usable & (codes == code)
        start_cells, goal_cells = np.flatnonzero(inside & start.cells), np.flatnonzero(inside & goal.cells)
        if len(start_cells) and len(goal_cells):
            alt_cells = [np.flatnonzero(inside & state.cells) for state in alt]
            edited = choose_cells(start_cells, names, samples, max_cells=max_cells, seed=seed)
            groups.append(StateGroup(name, edited, start_cells, goal_cells, alt_cells))
        elif (codes == code).any():
            without_states.append(name)
    return groups, without_states


def draw_groups(
    labels: np.ndarray, usable: np.ndarray, names: np.ndarray, samples: np.ndarray, *, max_cells: int | None, seed: int
) -> tuple[list[CellGroup], list[str]]:
    """Return a group for each label, by name, with the cells drawn among its usable ones, and the labels without any.

    ``labels`` are text, `None` for cells of no group.
    """
    groups, bare = [], []
    for label in sorted(set(labels) - {None}):
        cells = np.flatnonzero(usable & (labels == label))
        if len(cells):
            groups.append(CellGroup(label, choose_cells(cells, names, samples, max_cells=max_cells, seed=seed)))
        else:
            bare.append(label)
    return groups, bare


def choose_cells(
    cells: np.ndarray, names: np.ndarray, samples: np.ndarray, *, max_cells: int | None, seed: int
) -> np.ndarray:
    """Draw at most ``max_cells`` cells, as evenly over samples as they allow, whatever the order of the cells."""
    if max_cells is None or len(cells) <= max_cells:
        return cells
    order = np.argsort(names[cells].astype(str), kind="stable")
    chance = np.empty(len(cells))
    chance[order] = np.random.default_rng(seed).random(len(cells))
    _, code = np.unique(samples[cells], return_inverse=True)
    by_sample = np.lexsort((chance, code))
    turn = np.empty(len(cells), dtype=np.int64)
    first = np.searchsorted(code[by_sample], code[by_sample], side="left")
    turn[by_sample] = np.arange(len(cells)) - first
    return np.sort(cells[np.lexsort((chance, turn))[:max_cells]])
