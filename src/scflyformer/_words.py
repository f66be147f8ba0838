"""Names as messages show them, and what an option may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def some_names(names: Sequence[object], most: int = 5) -> str:
    """Return names in quotes, the first few of them: ``'a', 'b' and 'c'``, or ``'a', 'b' and 4 more``."""
    shown = [repr(str(name)) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def one_of(what: str, value: Any, allowed: Sequence[str]) -> Any:
    """Return the value; a `ValueError` that lists what is allowed where it is none of that."""
    if value not in allowed:
        raise ValueError(f"{what} is {value!r}; expected one of {', '.join(map(repr, allowed))}.")
    return value
