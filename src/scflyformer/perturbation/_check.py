"""What `tl.perturb` is asked for, checked, and what it says where there is nothing to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer._words import some_names
from scflyformer.data._states import present
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit import FOUND_ONLY
from scflyformer.perturbation._plan import near_name

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._scan import GeneSet


MOST = 5
"""Reasons that are told in words; all are in the table of what was skipped."""


def check_edits(kind: str, n_null: int, max_cells: int | None, *, kinds: tuple[str, ...]) -> None:
    """Raise `ValueError` where what is to be done to which cells is out of range."""
    if kind not in kinds:
        raise ValueError(f"kind is {kind!r}; expected {', '.join(map(repr, kinds[:-1]))} or {kinds[-1]!r}.")
    if n_null < 0:
        raise ValueError(f"n_null is {n_null}; expected 0 (no p-values) or more; 200 resolve p-values to 0.005.")
    if max_cells is not None and max_cells < 1:
        raise ValueError(f"max_cells is {max_cells}; expected 1 or more, or None for all cells.")


def nothing_to_edit(sets: list[GeneSet], unmeasured: Mapping[str, str], start: str, kind: str) -> str:
    """Say why no cell was edited; ``unmeasured`` are sets that the data do not measure, with the reason."""
    if not sets:
        return f"No gene is held by 10 perturbed cells ({start}) of a group; raise max_cells=, or name genes."
    measured = [one.name for one in sets if one.name not in unmeasured]
    absent = f"{reasons_in_words(unmeasured)}. " if unmeasured else ""
    if not measured:
        return f"There is nothing to {kind}: {absent}Ask for other genes."
    other = "kind='overexpress'" if kind in FOUND_ONLY else "more cells"
    return (
        f"No perturbed cell ({start}) expresses {some_names(measured)}, so there is nothing to {kind}. {absent}Ask for "
        f"other genes, for more cells by max_cells=, or for {other}."
    )


def why_unknown(unknown: list[str], vocabulary: Vocabulary, known: set[str], place: str) -> dict[str, str]:
    """Return why each name that the model does not know is left out.

    Parameters
    ----------
    unknown
        The names.
    vocabulary
        The genes that the model knows.
    known
        The names of the data.
    place
        Where these are, in words.
    """
    reasons = {}
    for name in unknown:
        reasons[name] = "not in the model's vocabulary"
        if name not in known:
            near = near_name(name, vocabulary)
            reasons[name] = f"neither in the model's vocabulary nor in {place}"
            reasons[name] += f" (did you mean {near!r}?)" if near else ""
    return reasons


def why_unmeasured(sets: Sequence[GeneSet], panel: np.ndarray | None, place: str, *, whole: bool) -> dict[str, str]:
    """Return the sets of which the data measure no gene, or with ``whole`` not all, and why they are left out.

    Parameters
    ----------
    sets
        The gene sets.
    panel
        Which vocabulary genes the data measured, bool, shape (n_genes,); `None` for all.
    place
        Where their names are, in words.
    whole
        Whether a set needs all of its genes.
    """
    reasons: dict[str, str] = {}
    if panel is None:
        return {}
    for one in sets:
        there = panel[np.array(one.tokens) - N_SPECIAL]
        if not there.any():
            reasons[one.name] = f"not measured (not in {place})"
        elif whole and not there.all():
            reasons[one.name] = f"measured in part ({(~there).sum()} of {len(there)} genes not in {place})"
    return reasons


def reasons_in_words(reasons: Mapping[str, str]) -> str:
    """Return names and why they were left out, names of one reason together: ``'a' and 'b' are not measured``."""
    together: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        together.setdefault(reason, []).append(name)
    clauses = [f"{some_names(names)} {'is' if len(names) == 1 else 'are'} {why}" for why, names in together.items()]
    more = [f"{len(clauses) - MOST} more reasons"] if len(clauses) > MOST else []
    return "; ".join(clauses[:MOST] + more)


def absent_words(found: Mapping[str, Any]) -> str:
    """Return why each name in ``found["absent"]`` has no result, from the table of what was skipped."""
    why = found["skipped"].drop_duplicates("gene").set_index("gene")["reason"]
    return reasons_in_words({name: why[name] for name in found["absent"]})


def no_group(groupby: str | None, state_key: str, column: pd.Series) -> str:
    """Say why there is nothing to compare."""
    what = "No cells" if groupby is None else f"No group of obs[{groupby!r}] has cells"
    return (
        f"{what} of both start and goal with counts in the model's genes; obs[{state_key!r}] of cells with counts: "
        f"{present(column)}."
    )
