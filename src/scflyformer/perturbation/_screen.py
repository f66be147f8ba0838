"""A first-order screen of all genes, and which of them are worth exact runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit_plan import MIN_CELLS
from scflyformer.perturbation._gene_sets import distinct_names, sets_of_one
from scflyformer.perturbation._null_sets import NullDraw, draw_null_sets
from scflyformer.perturbation._p_values import compare_with_nulls, tail_p_value
from scflyformer.perturbation._scan_result import sample_weights
from scflyformer.perturbation._tables import summarise
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._cells import CellGroup, Embedder
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._gene_sets import GeneSet
    from scflyformer.perturbation._readouts import TowardsStates
    from scflyformer.perturbation._request import PerturbRequest
    from scflyformer.perturbation._scan_result import ScanResult
    from scflyformer.tokens._rows import TokenRows

CHECKED = 50
"""Genes of a group, drawn by chance, that are run exactly to see how good the estimates are."""
JUDGED = ("null_mean", "effect", "p_value", "p_tail", "n_null")
ADJUSTED = {"fdr": "p_value", "fdr_tail": "p_tail"}


@dataclass(frozen=True, eq=False)
class Screened:
    """What a screen found.

    Attributes
    ----------
    table
        A row per gene and group: `gene`, `gene_id`, `group`, `n_cells`, `estimate` (mean over sample means);
        `null_mean`, `effect`, `p_value`, `p_tail`, `n_null` beside null genes' estimates, `fdr` and `fdr_tail` over the
        table; `top`, whether its effect is among the largest of the group; `token`.
    null
        `gene`, `group`, `null_gene`, `n_cells`, `shift`: the estimates that each estimate stands beside.
    sets
        The genes to run exactly in any group: those at the top, and some by chance.
    chosen
        Places in ``sets`` of those of each group.
    """

    table: pd.DataFrame
    null: pd.DataFrame
    sets: list[GeneSet]
    chosen: list[np.ndarray]


def screen(
    embedder: Embedder,
    ranked: TokenRows,
    groups: Sequence[CellGroup],
    towards: TowardsStates,
    samples: np.ndarray,
    vocabulary: Vocabulary,
    request: PerturbRequest,
) -> Screened:
    """Estimate the shift of every gene's deletion from one backward pass a cell (two under mean pooling).

    ``ranked`` are the cells of all groups, one group after the other; ``samples`` those of all cells of the object.
    """
    from scflyformer.perturbation._first_order import first_order_shifts

    ranked = ranked.cut(embedder.network.limit(embedder.pooling))
    with _log.progress(total=len(ranked), desc="first-order screen", unit="cell") as bar:
        shifts = first_order_shifts(
            embedder.network,
            ranked,
            centroids=towards.centroids,
            states=towards.states[:, 0],
            pooling=embedder.pooling,
            running=embedder.running,
            bar=bar,
        )
    tables, nulls, start = [], [], 0
    for group in groups:
        cells = np.arange(start, start + len(group.cells))
        inside = slice(ranked.indptr[cells[0]], ranked.indptr[cells[-1] + 1])
        part, start = ranked.take(cells), start + len(group.cells)
        table, null = _group_tables(part, shifts[inside], group, samples, vocabulary, request)
        tables.append(table)
        nulls.append(null)
    seed = request.seed
    chosen = [
        np.union1d(table.loc[table["top"], "token"], _random_genes(table["token"].to_numpy(), seed)) for table in tables
    ]
    every = np.unique(np.concatenate(chosen)).astype(int)
    sets = sets_of_one(every, distinct_names(vocabulary))
    filled = [table for table in tables if len(table)] or tables[:1]
    whole = pd.concat(filled, ignore_index=True).astype({"n_null": np.int64})
    for fdr, p_value in ADJUSTED.items():
        whole[fdr] = false_discovery_rate(whole[p_value].to_numpy(dtype=np.float64))
    places = [np.searchsorted(every, genes) for genes in chosen]
    null = pd.concat([null for null in nulls if len(null)] or nulls[:1], ignore_index=True)
    return Screened(whole, null, sets, places)


def _group_tables(
    rows: TokenRows,
    shifts: np.ndarray,
    group: CellGroup,
    samples: np.ndarray,
    vocabulary: Vocabulary,
    request: PerturbRequest,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a group's genes and their null genes, from the estimate for each token of its cells."""
    n_tokens, known, names = vocabulary.n_genes + N_SPECIAL, np.isfinite(shifts), distinct_names(vocabulary)
    tokens, sample_of_token = rows.tokens[known], np.repeat(samples[group.cells], rows.lengths)[known]
    mean = np.bincount(tokens, weights=shifts[known] * sample_weights(tokens, sample_of_token), minlength=n_tokens)
    counts = np.bincount(rows.tokens, minlength=n_tokens)
    genes = np.flatnonzero(counts >= MIN_CELLS)
    drawn = draw_null_sets(
        sets_of_one(genes, names),
        rows.select(np.isin(rows.tokens, genes)),
        genes,
        NullDraw("delete", request.n_null, request.seed),
        group=group.name,
        n_tokens=n_tokens,
        exclude_tested=False,
    )
    null_genes = [np.array([tokens[0] for tokens in drawn[place]], dtype=np.int64) for place in range(len(genes))]
    judged = [_judged(mean[gene], mean[others]) for gene, others in zip(genes, null_genes, strict=True)]
    table = pd.DataFrame(
        {
            "gene": names[genes - N_SPECIAL],
            "gene_id": vocabulary.gene_ids[genes - N_SPECIAL].astype(object),
            "group": group.name,
            "n_cells": counts[genes],
            "estimate": mean[genes],
            "token": genes,
            **pd.DataFrame(judged, columns=list(JUDGED), index=range(len(genes))),
        }
    )
    table["top"] = table["effect"].abs().rank(method="first", ascending=False, na_option="bottom") <= request.n_top
    every = np.concatenate([np.empty(0, dtype=np.int64), *null_genes])
    null = pd.DataFrame(
        {
            "gene": np.repeat(table["gene"].to_numpy(), [len(others) for others in null_genes]),
            "group": group.name,
            "null_gene": names[every - N_SPECIAL],
            "n_cells": counts[every],
            "shift": mean[every],
        }
    )
    return table, null


def _judged(estimate: float, null: np.ndarray) -> dict[str, float | int]:
    return compare_with_nulls(estimate, null) | {"p_tail": tail_p_value(estimate, null)}


def _random_genes(genes: np.ndarray, seed: int) -> np.ndarray:
    """Draw the genes that are run exactly only to see how good the estimates are."""
    return np.random.default_rng(seed).choice(genes, min(len(genes), CHECKED), replace=False)


def judged_by_screen(tables: dict[str, pd.DataFrame], screened: Screened) -> dict[str, pd.DataFrame]:
    """Return the tables of the genes at the top, judged by their estimates beside those of null genes."""
    replaced, key = [*JUDGED, *ADJUSTED], ["gene", "group"]
    top = screened.table.loc[screened.table["top"], [*key, *replaced]]
    results = tables["results"]
    order, of_shift = list(results), results["readout"] == "shift"
    judged = results[of_shift].drop(columns=replaced).merge(top, on=key)
    results = pd.concat([judged, results[~of_shift].merge(top[key], on=key)], ignore_index=True)[order]
    cells, null = (table.merge(top[key], on=key) for table in (tables["cells"], screened.null))
    return tables | {"results": results, "cells": cells, "null": null}


def compare_with_exact(
    screened: Screened, plan: EditPlan, result: ScanResult, samples: np.ndarray, *, seed: int
) -> dict[str, pd.DataFrame]:
    """Return the screen beside the exact shifts of the genes that were run, and how far their ranks agree by group.

    The agreement is over the genes drawn by chance, and separately over those at the top.
    """
    exact = {
        (group.name, readout.tokens[0]): summarise(readout, samples)["shift"]
        for group, shifts in zip(plan.groups, result.shifts, strict=True)
        for readout in shifts.values()
        if len(readout.tokens) == 1
    }
    table = screened.table
    table["exact"] = [exact.get(key, np.nan) for key in zip(table["group"], table["token"], strict=True)]
    rows = []
    for group in plan.groups:
        of_group = table[table["group"] == group.name]
        drawn = of_group[of_group["token"].isin(_random_genes(of_group["token"].to_numpy(), seed))]
        top = of_group[of_group["top"]]
        rows.append(
            {
                "group": group.name,
                "n_genes": len(of_group),
                "n_exact": len(drawn),
                "spearman": _spearman(drawn),
                "n_top": len(top),
                "spearman_top": _spearman(top),
            }
        )
    shown = ["gene", "gene_id", "group", "n_cells", "estimate", "exact", *JUDGED, *ADJUSTED]
    return {"screen": text_index(table[shown]), "agreement": text_index(pd.DataFrame(rows))}


def _spearman(table: pd.DataFrame) -> float:
    from scipy.stats import spearmanr

    known = table.dropna(subset=["exact", "estimate"])
    return float(spearmanr(known["estimate"], known["exact"])[0]) if len(known) > 2 else float("nan")
