"""Names as messages show them."""

from __future__ import annotations

from collections.abc import Sequence


def some_names(names: Sequence[object], most: int = 5) -> str:
    """Return names in quotes, the first few of them: ``'a', 'b' and 'c'``, or ``'a', 'b' and 4 more``."""
    shown = [repr(str(name)) for name in names[:most]]
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
