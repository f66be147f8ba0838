"""Which cells are in which groups, and which of the start cells are edited."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.data._states import State
from scflyformer.perturbation._cells import choose_cells, split_into_groups


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 45), st.integers(0, 3))
def test_cells_are_drawn_as_evenly_as_samples_allow(codes: list[int], most: int, seed: int) -> None:
    """No sample gives two cells more than another one that has cells left."""
    samples, cells = np.array(codes).astype(str), np.arange(len(codes))
    drawn = choose_cells(cells, cells.astype(str), samples, max_cells=most, seed=seed)
    assert len(drawn) == len(set(drawn)) == min(most, len(cells)) and (np.diff(drawn) > 0).all()
    held, taken = Counter(samples), Counter(samples[drawn])
    for name in held:
        assert taken[name] == held[name] or taken[name] >= max(taken.values()) - 1


def test_names_decide_which_cells_are_drawn_not_places() -> None:
    names, samples = np.array([f"cell{n}" for n in range(50)]), np.arange(50) % 3
    moved = np.random.default_rng(0).permutation(50)

    def drawn(order: np.ndarray, seed: int) -> set[str]:
        return set(names[order][choose_cells(np.arange(50), names[order], samples[order], max_cells=20, seed=seed)])

    assert drawn(np.arange(50), 0) == drawn(moved, 0) != drawn(moved, 1)
    every = np.array([3, 7, 9])
    assert choose_cells(every, names, samples, max_cells=None, seed=0) is every


def test_groups_hold_their_usable_cells_of_each_state() -> None:
    """Groups without start or goal cells are named; a cell without a group, or without counts, is in none."""
    random = np.random.default_rng(0)
    column = pd.Series(random.choice(["b", "a", "young only", "gone"], 80), dtype="category")
    column[:5], column[column == "gone"] = None, "a"
    old = (random.random(80) < 0.5) & (column != "young only").to_numpy()
    alt = State("alt", ~old & (random.random(80) < 0.3))
    start, goal, usable = State("old", old), State("young", ~old & ~alt.cells), random.random(80) < 0.8
    names, samples = np.arange(80).astype(str), np.arange(80) % 2
    groups, without_states = split_into_groups(
        (start, goal, [alt]), usable, column, samples=samples, names=names, max_cells=2, seed=0
    )
    assert [group.name for group in groups] == ["a", "b"] and without_states == ["young only"]
    for group in groups:
        inside = usable & (column == group.name).to_numpy()
        for cells, state in ((group.start, start), (group.goal, goal), (group.alt[0], alt)):
            assert set(cells) == {cell for cell in range(80) if inside[cell] and state.cells[cell]}
        assert len(group.cells) == 2 and set(group.cells) < set(group.start)
    (whole,), _ = split_into_groups(
        (start, goal, []), usable, None, samples=samples, names=names, max_cells=None, seed=0
    )
    assert whole.name == "all" and set(whole.cells) == set(np.flatnonzero(old & usable))
