"""Why genes and groups have no result, as tables and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer._words import some_names
from scflyformer.data._states import present
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit import FOUND_ONLY
from scflyformer.perturbation._gene_sets import near_name

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._gene_sets import GeneSet

MOST = 5
"""Reasons that are given in words; all are in the table of what was skipped."""


def reasons_unknown(unknown: list[str], vocabulary: Vocabulary, known: set[str], place: str) -> dict[str, str]:
    """Return why each name that the model does not know is left out.

    ``known`` are the names of the data, ``place`` says in words where these are.
    """
    reasons = {}
    for name in unknown:
        reasons[name] = "not in the model's vocabulary"
        if name not in known:
            near = near_name(name, vocabulary)
            reasons[name] = f"neither in the model's vocabulary nor in {place}"
            reasons[name] += f" (did you mean {near!r}?)" if near else ""
    return reasons


def reasons_unmeasured(sets: Sequence[GeneSet], panel: np.ndarray | None, place: str, *, whole: bool) -> dict[str, str]:
    """Return the sets of which the data measure no gene, or with ``whole`` not all, and why they are left out.

    ``panel`` tells which vocabulary genes the data measured, bool, shape (n_genes,); `None` for all.
    """
    reasons: dict[str, str] = {}
    if panel is None:
        return {}
    for gene_set in sets:
        there = panel[np.array(gene_set.tokens) - N_SPECIAL]
        if not there.any():
            reasons[gene_set.name] = f"not measured (not in {place})"
        elif whole and not there.all():
            reasons[gene_set.name] = f"measured in part ({(~there).sum()} of {len(there)} genes not in {place})"
    return reasons


def left_out(
    plan: EditPlan,
    unknown: Mapping[str, str],
    groups: Mapping[str, str],
    unmeasured: Mapping[str, str],
    *,
    unexpressed: str,
    every: bool,
) -> tuple[dict[str, str], pd.DataFrame]:
    """Return the names without any result with the reason, and why each combination of gene and group has none.

    Parameters
    ----------
    unknown, groups, unmeasured
        Names that are not in the plan, groups without results, and names in the plan that the data do not measure; each
        with the reason.
    unexpressed
        The reason against the other names in the plan that no cell holds.
    every
        Whether all genes were asked for; then none is missed.
    """
    reasons = [(name, "all", reason) for name, reason in unknown.items()]
    reasons += [("all", group, reason) for group, reason in groups.items()]
    absent = dict(unknown)
    if not every:
        nowhere, lacking = plan.without_cells()
        reasons += [(name, group, unmeasured.get(name, unexpressed)) for name, group in lacking]
        absent |= {name: unmeasured.get(name, unexpressed) for name in nowhere}
    return absent, pd.DataFrame(reasons, columns=["gene", "group", "reason"], dtype=object)


def nothing_to_edit(sets: Sequence[GeneSet], unmeasured: Mapping[str, str], start: str, kind: str) -> str:
    """Say why no cell was edited; ``unmeasured`` are sets that the data do not measure, with the reason."""
    if not sets:
        return f"No gene is held by 10 perturbed cells ({start}) of a group; raise max_cells=, or name genes."
    measured = [gene_set.name for gene_set in sets if gene_set.name not in unmeasured]
    absent = f"{reasons_in_words(unmeasured)}. " if unmeasured else ""
    if not measured:
        return f"There is nothing to {kind}: {absent}Ask for other genes."
    other = "kind='overexpress'" if kind in FOUND_ONLY else "more cells"
    return (
        f"No perturbed cell ({start}) expresses {some_names(measured)}, so there is nothing to {kind}. {absent}Ask for "
        f"other genes, for more cells by max_cells=, or for {other}."
    )


def no_group(groupby: str | None, state_key: str, column: pd.Series) -> str:
    """Say why there is nothing to compare."""
    what = "No cells" if groupby is None else f"No group of obs[{groupby!r}] has cells"
    return (
        f"{what} of both start and goal with counts in the model's genes; obs[{state_key!r}] of cells with counts: "
        f"{present(column)}."
    )


def reasons_in_words(reasons: Mapping[str, str]) -> str:
    """Return names and why they were left out, names of one reason together: ``'a' and 'b' are not measured``."""
    together: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        together.setdefault(reason, []).append(name)
    clauses = [f"{some_names(names)} {'is' if len(names) == 1 else 'are'} {why}" for why, names in together.items()]
    more = [f"{len(clauses) - MOST} more reasons"] if len(clauses) > MOST else []
    return "; ".join(clauses[:MOST] + more)


def absent_words(result: Mapping[str, Any]) -> str:
    """Return why each name in ``result["absent"]`` has no result, from the table of what was skipped."""
    why = result["skipped"].drop_duplicates("gene").set_index("gene")["reason"]
    return reasons_in_words({name: why[name] for name in result["absent"]})
