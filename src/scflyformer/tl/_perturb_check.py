"""What `tl.perturb` is asked for, checked, and what it says where there is nothing to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import pandas as pd

from scflyformer.tl._perturb_readouts import Centroid
from scflyformer.tl._states import present
from scflyformer.tokens._edit import DOSED, FOUND_ONLY, Kind

if TYPE_CHECKING:
    from scflyformer.tl._scan import GeneSet


def check_arguments(asked: Mapping[str, Any]) -> None:
    """Raise `ValueError` where an argument of `tl.perturb` is out of range."""
    check_edits(asked["kind"], asked["n_null"], asked["max_cells"], kinds=get_args(Kind))
    choices = {"method": ("exact", "screen"), "pooling": ("auto", "cell", "mean"), "centroid": get_args(Centroid)}
    for name, allowed in choices.items():
        if asked[name] not in allowed:
            shown = ", ".join(map(repr, allowed[:-1]))
            raise ValueError(f"{name} is {asked[name]!r}; expected {shown} or {allowed[-1]!r}.")
    if asked["kind"] in DOSED and not 0 < asked["dose"] <= 1:
        raise ValueError(f"dose is {asked['dose']}; expected above 0 (no change) and at most 1.")
    every = isinstance(asked["genes"], str) and asked["genes"] == "all"
    if asked["method"] == "screen" and not (every and asked["kind"] == "delete" and asked["n_null"] > 1):
        raise ValueError(
            f"method='screen' ranks all genes by what their deletion does beside null genes; got "
            f"genes={asked['genes']!r}, kind={asked['kind']!r}, n_null={asked['n_null']}. Pass genes='all', "
            "kind='delete' and n_null=200, or method='exact'."
        )
    if every and asked["pairs"] is not None:
        raise ValueError("pairs goes with genes by name; got genes='all'. Name the genes, or leave pairs out.")
    for name, least in (("n_top", 1), ("n_label", 0)):
        if asked[name] < least:
            raise ValueError(f"{name} is {asked[name]}; expected {least} or more.")
    most = asked["downstream"]
    if most != "all" and (isinstance(most, str | bool) or not hasattr(most, "__index__") or most < 0):
        raise ValueError(f"downstream is {most!r}; expected a whole number of genes, or 'all'.")


def check_edits(kind: str, n_null: int, max_cells: int | None, *, kinds: tuple[str, ...]) -> None:
    """Raise `ValueError` where what is to be done to which cells is out of range."""
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; expected {', '.join(map(repr, kinds[:-1]))} or {kinds[-1]!r}.")
    if n_null < 0:
        raise ValueError(f"n_null is {n_null}; expected 0 (no p-values) or more; 200 resolve p-values to 0.005.")
    if max_cells is not None and max_cells < 1:
        raise ValueError(f"max_cells is {max_cells}; expected 1 or more, or None for all cells.")


def nothing_to_edit(sets: list[GeneSet], start: str, kind: str) -> str:
    """Say why no cell was edited."""
    if not sets:
        return f"No gene is held by 10 perturbed cells ({start}) of a group; raise max_cells=, or name genes."
    shown = ", ".join(repr(one.name) for one in sets[:5]) + (", …" if len(sets) > 5 else "")
    other = "kind='overexpress'" if kind in FOUND_ONLY else "more cells"
    return (
        f"No perturbed cell ({start}) expresses {shown}, so there is nothing to {kind}. Ask for other genes, for more "
        f"cells by max_cells=, or for {other}."
    )


def no_group(groupby: str | None, state_key: str, column: pd.Series) -> str:
    """Say why there is nothing to compare."""
    what = "No cells" if groupby is None else f"No group of obs[{groupby!r}] has cells"
    return (
        f"{what} of both start and goal with counts in the model's genes; obs[{state_key!r}] of cells with counts: "
        f"{present(column)}."
    )
