"""A first-order screen of all genes, and exact runs of those that stand out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit_plan import MIN_CELLS
from scflyformer.perturbation._effects import set_effects
from scflyformer.perturbation._first_order import first_order_changes
from scflyformer.perturbation._gene_sets import distinct_names, sets_of_one
from scflyformer.perturbation._judge import GroupEdits
from scflyformer.perturbation._null_sets import draw_null_sets
from scflyformer.perturbation._results import GroupContext, permutation_weights, result_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._cells import EmbeddedCells, Embedder, StateGroup
    from scflyformer.perturbation._first_order import FirstOrder
    from scflyformer.perturbation._gene_sets import GeneSet
    from scflyformer.perturbation._make_readouts import Readouts
    from scflyformer.perturbation._null_sets import NullDraw
    from scflyformer.perturbation._state_samples import StateSamples
    from scflyformer.tokens._rows import TokenRows

CHECKED = 50
"""Genes of a group, drawn by chance, that are run exactly to see how good the estimates are."""
READOUT = "net_shift"
"""The readout by which genes stand out."""


@dataclass(frozen=True, eq=False)
class Screened:
    """What a screen found.

    Attributes
    ----------
    results
        For each group the rows of `tl.perturb`'s results, of estimates.
    sets
        The genes to run exactly in any group: those that stand out, and some by chance.
    chosen
        Places in ``sets`` of those of each group.
    top, drawn
        Names of those that stand out, and of those drawn by chance, by group.
    """

    results: list[pd.DataFrame]
    sets: list[GeneSet]
    chosen: list[np.ndarray]
    top: list[list[str]]
    drawn: list[list[str]]


def screen(
    embedder: Embedder,
    cells: EmbeddedCells,
    groups: Sequence[StateGroup],
    readouts: Readouts,
    vocabulary: Vocabulary,
    contexts: Sequence[GroupContext],
    *,
    nulls: NullDraw,
    n_top: int,
) -> Screened:
    """Estimate what the deletion of every gene does, group by group, so that memory does not grow with the groups."""
    names, results, chosen, top, drawn = distinct_names(vocabulary), [], [], [], []
    columns = state_columns(readouts)
    with _log.progress(total=sum(len(group.cells) for group in groups), desc="first-order screen", unit="cell") as bar:
        for at, (group, context) in enumerate(zip(groups, contexts, strict=True)):
            ranked = cells.rows.take(group.cells).cut(embedder.network.limit(embedder.pooling))
            edits, tokens = _group_edits(embedder, ranked, group, readouts, at, nulls, bar)
            about = pd.DataFrame(
                {
                    "gene": names[tokens - N_SPECIAL],
                    "gene_id": vocabulary.gene_ids[tokens - N_SPECIAL].astype(object),
                    "genes": [(int(token) - N_SPECIAL,) for token in tokens],
                }
            )
            weights = permutation_weights(readouts, at)
            results.append(result_rows(edits, columns, weights, about=about, context=context, kind="delete", scan=True))
            found = results[-1][results[-1]["readout"] == READOUT]
            first = np.lexsort([-found["effect"].abs().fillna(-1), found["fdr"].fillna(2)])[:n_top]
            top.append(found["gene"].iloc[first].tolist())
            by_chance = _random_genes(tokens, nulls.seed)
            drawn.append(names[by_chance - N_SPECIAL].tolist())
            chosen.append(np.union1d(tokens[first], by_chance))
    every = np.unique(np.concatenate(chosen)).astype(int)
    places = [np.searchsorted(every, genes) for genes in chosen]
    return Screened(results, sets_of_one(every, names), places, top, drawn)


def state_columns(readouts: Readouts) -> list[str]:
    """Return the readouts that a screen estimates: all but those of clocks and classifiers."""
    return [name for name in readouts.columns if name not in ("age", "probability")]


def _group_edits(
    embedder: Embedder,
    ranked: TokenRows,
    group: StateGroup,
    readouts: Readouts,
    at: int,
    nulls: NullDraw,
    bar: Any,
) -> tuple[GroupEdits, np.ndarray]:
    """Return what deletions do by the estimate, and the tokens of the genes that enough cells hold."""
    states, towards = readouts.states[at], readouts.towards
    n_tokens = embedder.network.n_genes + N_SPECIAL
    genes = np.flatnonzero(np.bincount(ranked.tokens, minlength=n_tokens) >= MIN_CELLS)
    before = sum(len(each.own) for each in readouts.states[:at])
    of_alt = towards.states[before : before + len(group.cells), 2:]
    alt = towards.centroids[of_alt.max(0)] if len(of_alt) else towards.centroids[:0]  # the same for all cells
    there = of_alt.max(0) >= 0 if len(of_alt) else np.zeros(0, dtype=bool)
    found = first_order_changes(
        embedder.network,
        ranked,
        np.concatenate([states.sums, alt]),
        pooling=embedder.pooling,
        running=embedder.running,
        bar=bar,
    )
    held = np.isin(ranked.tokens, genes)
    owner = np.repeat(states.own, ranked.lengths)[held]
    chosen = np.searchsorted(genes, ranked.tokens[held])
    if not readouts.has_linear_part:
        found = replace(found, linear=None)
    values = _shifts(found, states, np.repeat(states.own, ranked.lengths), alt, there)[held]
    drawn = draw_null_sets(
        sets_of_one(genes, np.zeros(n_tokens, dtype=object)),
        ranked.select(held),
        genes,
        nulls,
        group=group.name,
        n_tokens=n_tokens,
        exclude_tested=False,
    )
    beside = [np.searchsorted(genes, [tokens[0] for tokens in drawn.get(place, [])]) for place in range(len(genes))]
    n_units, shape = len(states.goal), (len(genes), states.n_samples)
    dots = _means(found.total[held, :n_units], chosen, owner, shape)
    linear = None if found.linear is None else _means(found.linear[held, :n_units], chosen, owner, shape)
    size = _means(found.size[held, None], chosen, np.zeros_like(owner), (len(genes), 1))[:, 0, 0]
    effects = set_effects(chosen, np.zeros_like(owner) if states.in_parts else owner, values)
    return GroupEdits(effects, np.arange(len(genes)), beside, size, dots, linear), genes


def _shifts(found: FirstOrder, states: StateSamples, own: np.ndarray, alt: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the readouts of each token: towards goal, start and alternatives, the net shift and its two parts."""
    to_goal, to_start = (part[0] for part in states.weights(states.goal[None]))
    n_units = len(states.goal)

    def towards(change: np.ndarray) -> list[np.ndarray]:
        return [np.einsum("ij,ij->i", change[:, :n_units], weights[own]) for weights in (to_goal, to_start)]

    goal, start = towards(found.total)
    length = np.linalg.norm(alt, axis=1)
    others = [
        found.total[:, n_units + place] / length[place] if known else np.full(len(own), np.nan)
        for place, known in enumerate(there)
    ]
    columns = [goal, start, *others, goal - start]
    if found.linear is not None:
        linear_goal, linear_start = towards(found.linear)
        columns += [linear_goal - linear_start, goal - start - (linear_goal - linear_start)]
    return np.column_stack(columns)


def _means(values: np.ndarray, chosen: np.ndarray, sample: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return means over the tokens of each gene and sample, shape (n_genes, n_samples, n_columns); NaN without any."""
    place, n = chosen * shape[1] + sample, shape[0] * shape[1]
    known = np.isfinite(values).all(1)
    counts = np.bincount(place[known], minlength=n)
    sums = np.stack([np.bincount(place[known], weights=value[known], minlength=n) for value in values.T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (sums / np.where(counts > 0, counts, np.nan)[:, None]).reshape(*shape, values.shape[1])


def _random_genes(genes: np.ndarray, seed: int) -> np.ndarray:
    """Draw the genes that are run exactly only to see how good the estimates are."""
    return np.random.default_rng(seed).choice(genes, min(len(genes), CHECKED), replace=False)


def compare_with_exact(
    screened: Screened, exact: pd.DataFrame, groups: Sequence[StateGroup]
) -> dict[str, pd.DataFrame]:
    """Return estimates beside the exact net shifts of the genes that were run, and how far their ranks agree by group.

    ``exact`` are the results of exact runs. The agreement is over the genes drawn by chance, and separately over those
    that stand out.
    """
    key, rows, tables = ["gene", "group"], [], []
    exact = exact.loc[exact["readout"] == READOUT, [*key, "shift"]].rename(columns={"shift": "exact"})
    for group, results, top, by_chance in zip(groups, screened.results, screened.top, screened.drawn, strict=True):
        estimates = results[results["readout"] == READOUT]
        table = estimates[["gene", "gene_id", "group", "n_cells", "shift"]].rename(columns={"shift": "estimate"})
        table = table.merge(exact, on=key).assign(top=lambda found, top=top: found["gene"].isin(top))
        drawn = table[table["gene"].isin(by_chance)]
        rows.append(
            {
                "group": group.name,
                "n_genes": len(estimates),
                "n_exact": len(drawn),
                "spearman": _spearman(drawn),
                "n_top": int(table["top"].sum()),
                "spearman_top": _spearman(table[table["top"]]),
            }
        )
        tables.append(table)
    return {"screen": text_index(pd.concat(tables)), "agreement": text_index(pd.DataFrame(rows))}


def _spearman(table: pd.DataFrame) -> float:
    from scipy.stats import spearmanr

    known = table.dropna(subset=["exact", "estimate"])
    return float(spearmanr(known["estimate"], known["exact"])[0]) if len(known) > 2 else float("nan")
