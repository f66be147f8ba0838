"""A first-order screen of all genes, and which of them are worth exact runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._nulls import beside_nulls, tail_p_value
from scflyformer.perturbation._run import sample_weights
from scflyformer.perturbation._scan import MIN_CELLS, GeneSet, draw_nulls, telling_names
from scflyformer.perturbation._tables import summarise
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._readouts import TowardsStates
    from scflyformer.perturbation._run import Found
    from scflyformer.perturbation._scan import Pool, Scan
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
    network: CellBert,
    ranked: TokenRows,
    pools: list[Pool],
    towards: TowardsStates,
    samples: np.ndarray,
    vocabulary: Vocabulary,
    *,
    pooling: Pooling,
    n_top: int,
    n_null: int,
    seed: int,
    running: Running,
) -> Screened:
    """Estimate the shift of every gene's deletion from one backward pass a cell (two under mean pooling).

    Parameters
    ----------
    network
        The network.
    ranked
        The cells of all groups, one group after the other.
    pools
        The groups.
    towards
        Centroids; the first state is the goal.
    samples
        Sample of each cell of the object.
    vocabulary
        The model's genes.
    pooling
        The pooling.
    n_top
        Genes of each group to run exactly.
    n_null, seed
        Null genes for each gene, seed.
    running
        How the network runs.
    """
    from scflyformer.perturbation._first_order import first_order_shifts

    ranked = ranked.cut(network.limit(pooling))
    with _log.progress(total=len(ranked), desc="first-order screen", unit="cell") as bar:
        shifts = first_order_shifts(
            network, ranked, centroids=towards.centroids, states=towards.states[:, 0], pooling=pooling,
            running=running, bar=bar,
        )  # fmt: skip
    tables, nulls, start = [], [], 0
    for pool in pools:
        cells = np.arange(start, start + len(pool.cells))
        inside = slice(ranked.indptr[cells[0]], ranked.indptr[cells[-1] + 1])
        part, start = ranked.take(cells), start + len(pool.cells)
        table, null = _group_tables(
            part, shifts[inside], pool, samples, vocabulary, n_top=n_top, n_null=n_null, seed=seed
        )
        tables.append(table)
        nulls.append(null)
    chosen = [np.union1d(table.loc[table["top"], "token"], _some(table["token"].to_numpy(), seed)) for table in tables]
    every = np.unique(np.concatenate(chosen)).astype(int)
    names = telling_names(vocabulary)
    sets = [GeneSet(str(names[gene - N_SPECIAL]), (int(gene),)) for gene in every]
    filled = [table for table in tables if len(table)] or tables[:1]
    whole = pd.concat(filled, ignore_index=True).astype({"n_null": np.int64})
    for fdr, p_value in ADJUSTED.items():
        whole[fdr] = false_discovery_rate(whole[p_value].to_numpy(dtype=np.float64))
    places = [np.searchsorted(every, genes) for genes in chosen]
    return Screened(
        whole, pd.concat([null for null in nulls if len(null)] or nulls[:1], ignore_index=True), sets, places
    )


def _group_tables(
    part: TokenRows,
    shifts: np.ndarray,
    pool: Pool,
    samples: np.ndarray,
    vocabulary: Vocabulary,
    *,
    n_top: int,
    n_null: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a group's genes and their null genes, from the estimate for each token of its cells."""
    n_tokens, known, names = vocabulary.n_genes + N_SPECIAL, np.isfinite(shifts), telling_names(vocabulary)
    tokens, own = part.tokens[known], np.repeat(samples[pool.cells], part.lengths)[known]
    mean = np.bincount(tokens, weights=shifts[known] * sample_weights(tokens, own), minlength=n_tokens)
    counts = np.bincount(part.tokens, minlength=n_tokens)
    genes = np.flatnonzero(counts >= MIN_CELLS)
    drawn = draw_nulls(
        [GeneSet("", (int(gene),)) for gene in genes], part.select(np.isin(part.tokens, genes)), genes, kind="delete",
        n_tokens=n_tokens, n=n_null, seed=seed, group=pool.name, apart=False,
    )  # fmt: skip
    beside = [np.array([one[0] for one in drawn[at]], dtype=np.int64) for at in range(len(genes))]
    judged = [_judged(mean[gene], mean[others]) for gene, others in zip(genes, beside, strict=True)]
    table = pd.DataFrame(
        {
            "gene": names[genes - N_SPECIAL],
            "gene_id": vocabulary.gene_ids[genes - N_SPECIAL].astype(object),
            "group": pool.name,
            "n_cells": counts[genes],
            "estimate": mean[genes],
            "token": genes,
            **pd.DataFrame(judged, columns=list(JUDGED), index=range(len(genes))),
        }
    )
    table["top"] = table["effect"].abs().rank(method="first", ascending=False, na_option="bottom") <= n_top
    every = np.concatenate([np.empty(0, dtype=np.int64), *beside])
    null = pd.DataFrame(
        {
            "gene": np.repeat(table["gene"].to_numpy(), [len(others) for others in beside]),
            "group": pool.name,
            "null_gene": names[every - N_SPECIAL],
            "n_cells": counts[every],
            "shift": mean[every],
        }
    )
    return table, null


def _judged(estimate: float, null: np.ndarray) -> dict[str, float | int]:
    return beside_nulls(estimate, null) | {"p_tail": tail_p_value(estimate, null)}


def _some(genes: np.ndarray, seed: int) -> np.ndarray:
    """Draw the genes that are run exactly only to see how good the estimates are."""
    return np.random.default_rng(seed).choice(genes, min(len(genes), CHECKED), replace=False)


def judged_by_screen(tables: dict[str, pd.DataFrame], screened: Screened) -> dict[str, pd.DataFrame]:
    """Return the tables of the genes at the top, judged by their estimates beside those of null genes."""
    told = [*JUDGED, *ADJUSTED]
    own = screened.table.loc[screened.table["top"], ["gene", "group", *told]]
    results, cells = tables["results"], tables["cells"]
    order = list(results)
    of_shift, key = results["readout"] == "shift", ["gene", "group"]
    judged = results[of_shift].drop(columns=told).merge(own, on=key)
    results = pd.concat([judged, results[~of_shift].merge(own[key], on=key)], ignore_index=True)[order]
    cells = cells.merge(own[["gene", "group"]], on=["gene", "group"])
    null = screened.null.merge(own[["gene", "group"]], on=["gene", "group"])
    return tables | {"results": results, "cells": cells, "null": null}


def compared(
    screened: Screened, scan: Scan, found: Found, samples: np.ndarray, *, seed: int
) -> dict[str, pd.DataFrame]:
    """Return the screen beside the exact shifts of the genes that were run, and how far their ranks agree by group.

    The agreement is over the genes drawn by chance, and apart over those at the top.
    """
    exact = {
        (pool.name, one.tokens[0]): summarise(one, samples)["shift"]
        for pool, shifts in zip(scan.pools, found.shifts, strict=True)
        for one in shifts.values()
        if len(one.tokens) == 1
    }
    table = screened.table
    table["exact"] = [exact.get(key, np.nan) for key in zip(table["group"], table["token"], strict=True)]
    rows = []
    for pool in scan.pools:
        own = table[table["group"] == pool.name]
        drawn = own[own["token"].isin(_some(own["token"].to_numpy(), seed))]
        row = {"group": pool.name, "n_genes": len(own), "n_exact": len(drawn), "spearman": _spearman(drawn)}
        rows.append(row | {"n_top": int(own["top"].sum()), "spearman_top": _spearman(own[own["top"]])})
    shown = ["gene", "gene_id", "group", "n_cells", "estimate", "exact", *JUDGED, *ADJUSTED]
    return {"screen": text_index(table[shown]), "agreement": text_index(pd.DataFrame(rows))}


def _spearman(table: pd.DataFrame) -> float:
    from scipy.stats import spearmanr

    known = table.dropna(subset=["exact", "estimate"])
    return float(spearmanr(known["estimate"], known["exact"])[0]) if len(known) > 2 else float("nan")
