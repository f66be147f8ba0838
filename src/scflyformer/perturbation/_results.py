"""The tables of `tl.perturb`: results, cells and null genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer.data._columns import plain_names
from scflyformer.data._tables import text_index
from scflyformer.perturbation._effects import set_effects
from scflyformer.perturbation._gene_sets import join_names
from scflyformer.perturbation._judge import BOTH, NULL, GroupEdits, judge
from scflyformer.perturbation._tables import RESULTS
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._cells import EmbeddedCells
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._make_readouts import Readouts
    from scflyformer.perturbation._scan_result import ScanResult


@dataclass(frozen=True, eq=False)
class GroupContext:
    """What is known of a group without any edit.

    Attributes
    ----------
    name
        The group.
    log_fc
        log2 of goal over start expression of each vocabulary gene, shape (n_genes,).
    noise
        How far a cell moves when it is only embedded anew.
    interpretable
        Whether held-out cells of the two states are told apart.
    """

    name: str
    log_fc: np.ndarray
    noise: float
    interpretable: bool


def edits_of_groups(plan: EditPlan, result: ScanResult, readouts: Readouts) -> list[GroupEdits]:
    """Return what was read off, summed up by set, for each group that has any."""
    found, first_cell = [], 0
    bounds = np.concatenate([[0], plan.ends])
    for at, (group, in_group, states) in enumerate(zip(plan.groups, plan.sets_of_group, readouts.states, strict=True)):
        inside = slice(bounds[at], bounds[at + 1])
        chosen, cells = plan.copies.chosen[inside], plan.copies.cells[inside] - first_cell
        first_cell += len(group.cells)
        effects = set_effects(chosen, states.own[cells], result.values[inside])
        place = {int(number): row for row, number in enumerate(effects.numbers)}
        numbers = [in_group[which] for which in sorted(in_group)]
        slots = np.array([plan.slot_of[at, number] for number in effects.numbers.tolist()], dtype=np.int64)
        n_units = len(states.goal)
        found.append(
            GroupEdits(
                effects,
                np.array([place[tested] for tested, *_ in numbers], dtype=np.int64),
                [np.array([place[one] for one in null if one in place], dtype=np.int64) for _, *null in numbers],
                result.size[slots],
                result.dots[slots, : states.n_samples, :n_units],
                None if result.linear is None else result.linear[slots, : states.n_samples, :n_units],
            )
        )
    return found


def permutation_weights(readouts: Readouts, group: int) -> np.ndarray | None:
    """Return what turns dot products into shifts under each permutation of a group's states; `None` without any."""
    goals = readouts.permuted[group]
    return None if goals is None else readouts.states[group].weights(goals)


def result_rows(
    edits: GroupEdits,
    columns: Sequence[str],
    weights: np.ndarray | None,
    *,
    about: pd.DataFrame,
    context: GroupContext,
    kind: str,
    scan: bool,
) -> pd.DataFrame:
    """Return the results of a group, a row per tested set and readout.

    ``about`` has `gene`, `gene_id` and `tokens` of each tested set, the latter positions in the vocabulary.
    """
    fold = [context.log_fc[np.array(genes)] for genes in about["genes"]]
    change = [float(np.nanmean(of_set)) if np.isfinite(of_set).any() else np.nan for of_set in fold]
    same = about[["gene", "gene_id"]].assign(
        group=context.name, kind=kind, log_fc=change, noise=context.noise, interpretable=context.interpretable
    )
    parts = [
        pd.concat([same, table], axis=1).assign(readout=readout)
        for readout, table in zip(columns, judge(edits, columns, weights, scan=scan), strict=True)
    ]
    return pd.concat(parts, ignore_index=True)[list(RESULTS)]


def join_results(parts: Sequence[pd.DataFrame], columns: Sequence[str], genes: Sequence[str]) -> pd.DataFrame:
    """Return the results of all groups: by readout, by gene in the order asked, by group.

    Outside scans with permutations `fdr` is made of the larger of a row's p-values, over the rows of a readout: a gene
    is called that stands out from null genes and whose effect depends on the states.
    """
    results = pd.concat([part for part in parts if len(part)], ignore_index=True)
    by_p = results["test"].isin([NULL, BOTH]).to_numpy()
    larger = results[["p_value", "p_states"]].max(axis=1)[by_p]
    results.loc[by_p, "fdr"] = larger.groupby(results["readout"][by_p]).transform(_adjusted)
    readout = results["readout"].map({name: place for place, name in enumerate(columns)})
    gene = results["gene"].map({name: place for place, name in enumerate(dict.fromkeys(genes))})
    order = np.lexsort([np.arange(len(results)), gene, readout])
    return text_index(results.iloc[order])


def _adjusted(p_values: pd.Series) -> np.ndarray:
    return false_discovery_rate(p_values.to_numpy(dtype=np.float64))


def gene_table(plan: EditPlan, group: int, vocabulary: Vocabulary) -> pd.DataFrame:
    """Return `gene`, `gene_id` and positions of the `genes` of each set that was run in a group."""
    from scflyformer.genes._vocabulary import N_SPECIAL

    sets = [plan.sets[place] for place in sorted(plan.sets_of_group[group])]
    return pd.DataFrame(
        {
            "gene": np.array([gene_set.name for gene_set in sets], dtype=object),
            "gene_id": np.array([join_names(vocabulary.gene_ids, one.tokens) for one in sets], dtype=object),
            "genes": [tuple(token - N_SPECIAL for token in one.tokens) for one in sets],
        }
    )


def cell_table(plan: EditPlan, result: ScanResult, columns: Sequence[str], cells: EmbeddedCells) -> pd.DataFrame:
    """Return what was read off each cell in which a tested set was edited."""
    parts, bounds = [], np.concatenate([[0], plan.ends])
    for at, (group, in_group) in enumerate(zip(plan.groups, plan.sets_of_group, strict=True)):
        inside = np.arange(bounds[at], bounds[at + 1])
        chosen = plan.copies.chosen[inside]
        first, last = np.searchsorted(chosen, np.arange(len(plan.table.sets))), len(chosen)
        ends = np.append(first[1:], last)
        for place, (number, *_) in sorted(in_group.items()):
            copies = inside[first[number] : ends[number]]
            copies = copies[np.isfinite(result.values[copies, 0])]
            edited = plan.cells[plan.copies.cells[copies]]
            about = {"cell": plain_names(cells.names[edited]), "sample": cells.samples[edited].astype(object)}
            read = dict(zip(columns, result.values[copies].T, strict=True))
            parts.append(pd.DataFrame({"gene": plan.sets[place].name, "group": group.name, **about, **read}))
    table = pd.concat(parts, ignore_index=True)
    order = {gene_set.name: place for place, gene_set in enumerate(plan.sets)}
    return table.iloc[np.argsort(table["gene"].map(order), kind="stable")].reset_index(drop=True)


def null_table(
    plan: EditPlan, edits: Sequence[GroupEdits], columns: Sequence[str], vocabulary: Vocabulary
) -> pd.DataFrame:
    """Return the mean shifts of the null sets of each tested set."""
    parts = []
    for group, in_group, of_group in zip(plan.groups, plan.sets_of_group, edits, strict=True):
        for place, null in zip(sorted(in_group), of_group.nulls, strict=True):
            numbers = of_group.effects.numbers[null]
            names = [join_names(vocabulary.names, plan.table.sets[number]) for number in numbers]
            about = {"gene": plan.sets[place].name, "group": group.name, "null_gene": np.array(names, dtype=object)}
            read = dict(zip(columns, of_group.effects.shift[null].T, strict=True))
            parts.append(pd.DataFrame({**about, "n_cells": of_group.effects.n_cells[null, 0], **read}))
    order = {gene_set.name: place for place, gene_set in enumerate(plan.sets)}
    table = pd.concat(parts, ignore_index=True)
    return table.iloc[np.argsort(table["gene"].map(order), kind="stable")].reset_index(drop=True)
