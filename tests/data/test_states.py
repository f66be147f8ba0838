"""States are found whatever dress their values wear, and never shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scflyformer.data._states import read_state, read_states, require_disjoint

AGES = [5, 30, 5, None, 50]
DRESSES = {
    "float": pd.Series([5.0, 30, 5, np.nan, 50]),
    "nullable": pd.Series(AGES, dtype="Int64"),
    "text": pd.Series(["5", "30", "5", None, "50"], dtype=object),
    "text of floats": pd.Series(["5.0", "30.0", "5.0", None, "50.0"], dtype=object),
    "category of text": pd.Series(["5", "30", "5", None, "50"], dtype="category"),
    "category of numbers": pd.Series(AGES, dtype="category"),
}


@pytest.mark.parametrize("wanted", [5, 5.0, "5", np.int64(5)], ids=repr)
@pytest.mark.parametrize("dress", DRESSES)
def test_numbers_are_the_same_in_any_dress(dress: str, wanted: Any) -> None:
    state = read_state(DRESSES[dress], wanted, key="age", what="start")
    assert state.cells.tolist() == [True, False, True, False, False]
    assert state.label == "5"


def test_several_values_make_one_state_and_a_list_of_lists_several() -> None:
    column = DRESSES["float"]
    both = read_state(column, [30, 50], key="age", what="start")
    assert (both.label, both.cells.tolist()) == ("30+50", [False, True, False, False, True])
    states = read_states(column, [5, [30, 50]], key="age", what="alt")
    assert [state.label for state in states] == ["5", "30+50"] and read_states(
        column, None, key="age", what="alt"
    ) == []
    with pytest.raises(ValueError, match=r"start \(30\+50\) and alt \(50\) share 1 cells"):
        require_disjoint([("start", both), ("alt", read_state(column, 50, key="age", what="alt"))], key="age")


def test_true_is_no_one() -> None:
    column = pd.Series([True, False, True])
    assert read_state(column, True, key="mated", what="start").cells.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"no cell has obs\['mated'\] = 1"):
        read_state(column, 1, key="mated", what="start")


def test_a_value_that_no_cell_has() -> None:
    with pytest.raises(ValueError, match=r"goal: no cell has obs\['age'\] = 7; the values are 5 \(2 cells\), 30 \(1"):
        read_state(DRESSES["float"], 7, key="age", what="goal")
    with pytest.raises(ValueError, match="goal is empty"):
        read_state(DRESSES["float"], [], key="age", what="goal")
