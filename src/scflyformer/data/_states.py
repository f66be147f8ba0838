"""States of cells as a column of `obs` names them: ages, genotypes, labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scflyformer.data._columns import as_text, text_of


@dataclass(frozen=True, eq=False)
class State:
    """A state and its cells."""

    label: str  # the values joined by ``+``; whole numbers without a decimal point
    cells: np.ndarray  # whether a cell is in the state, bool, (n_obs,)


def read_state(column: pd.Series, wanted: Any, *, key: str, what: str) -> State:
    """Return the state that a value, or several together, make, and its cells; an error where a value has no cell.

    Numbers compare as numbers (``5``, ``5.0`` and ``"5"`` are the same), all else as text. ``key`` names the column and
    ``what`` the argument, for messages.
    """
    several = isinstance(wanted, list | tuple | set | frozenset | np.ndarray | pd.Series | pd.Index)
    values = list(wanted) if several else [wanted]
    if not values:
        raise ValueError(f"{what} is empty; give a value of obs[{key!r}] or a list of them: {present(column)}.")
    cells = np.zeros(len(column), dtype=bool)
    for value in values:
        equal = _equal(column, value)
        if not equal.any():
            raise ValueError(f"{what}: no cell has obs[{key!r}] = {value!r}; the values are {present(column)}.")
        cells |= equal
    return State("+".join(map(text_of, values)), cells)


def read_states(column: pd.Series, wanted: Any, *, key: str, what: str) -> list[State]:
    """Find the cells of several states, each a value or a list of values; none for `None`."""
    if wanted is None:
        return []
    several = isinstance(wanted, list | tuple | np.ndarray | pd.Series | pd.Index)
    return [read_state(column, value, key=key, what=what) for value in (wanted if several else [wanted])]


def require_disjoint(states: Iterable[tuple[str, State]], *, key: str) -> None:
    """Refuse states, given with the names of their arguments, that share cells."""
    seen: list[tuple[str, State]] = []
    for what, state in states:
        for other, before in seen:
            shared = int((state.cells & before.cells).sum())
            if shared:
                raise ValueError(
                    f"{other} ({before.label}) and {what} ({state.label}) share {shared} cells; expected different "
                    f"values of obs[{key!r}]."
                )
        seen.append((what, state))


def present(column: pd.Series, most: int = 20) -> str:
    """Return the values of a column with their cells, for messages."""
    counts = column.value_counts(sort=False, dropna=True)
    counts = counts[counts > 0]
    try:
        counts = counts.sort_index()
    except TypeError:
        pass
    shown = ", ".join(f"{text_of(value)} ({n} cells)" for value, n in counts.head(most).items())
    return (shown or "all missing") + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _equal(column: pd.Series, value: Any) -> np.ndarray:
    known = column.notna().to_numpy()
    number = _as_number(value)
    if number is not None:
        values = column.astype(object)
        numbers = pd.to_numeric(values.where(known), errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    kinds = column.cat.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
    if number is not None and pd.api.types.is_numeric_dtype(kinds) and not pd.api.types.is_bool_dtype(kinds):
        return known & (numbers == number)
    same = as_text(column) == text_of(value)
    if number is None or same.any() or pd.api.types.is_bool_dtype(kinds):
        return same
    return known & (numbers == number)


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
