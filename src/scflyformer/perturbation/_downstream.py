"""Which other genes change when a gene is perturbed, as the model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._contextual import contextual_moves
from scflyformer.perturbation._copies import Edits
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._run import Found
    from scflyformer.perturbation._scan import Scan
    from scflyformer.tokens._rows import TokenRows


def downstream_genes(
    network: CellBert,
    rows: TokenRows,
    scan: Scan,
    found: Found,
    vocabulary: Vocabulary,
    results: pd.DataFrame,
    *,
    kind: Kind,
    dose: float,
    most: int | Literal["all"],
    running: Running,
) -> pd.DataFrame:
    """Return, for each tested set and group, the measured genes that change most.

    Parameters
    ----------
    network
        The network.
    rows
        All cells, ranked.
    scan, found
        What was edited, and what was read off; without ``found.moves`` no expression is decoded.
    vocabulary
        The model's genes.
    results
        The results: `gene` and `group` of the sets that are wanted.
    kind, dose
        The edit.
    most
        Genes to keep: those with the largest effect, or, without a decoder, those that move most.
    running
        How the network runs.
    """
    wanted = set(zip(results["gene"], results["group"], strict=True))
    tested = [(number, place) for place, one in enumerate(scan.sets) for number, pool in enumerate(scan.pools)
              if place in scan.wanted[number] and (one.name, pool.name) in wanted]  # fmt: skip
    order = np.unique([scan.slot_of[number, scan.wanted[number][place][0]] for number, place in tested])
    kept = np.flatnonzero(np.isin(scan.slot, order))
    edits = Edits(scan.table.matrix(), scan.pairs[0][kept], scan.pairs[1][kept], kind, dose)
    with _log.progress(total=len(kept), desc="downstream genes", unit="copy") as bar:
        moved, counts = contextual_moves(
            network, rows.take(scan.cells), edits, np.searchsorted(order, scan.slot[kept]), bar=bar, running=running
        )
    measured = np.ones(vocabulary.n_genes, dtype=bool) if rows.panel is None else rows.panel
    decoder = None if found.moves is None else network.profile_decoder.weight.detach().cpu().numpy().astype(np.float64)
    tables = []
    for number, place in tested:
        own, *null = scan.wanted[number][place]
        at = int(np.searchsorted(order, scan.slot_of[number, own]))
        table = pd.DataFrame(
            {
                "gene": scan.sets[place].name,
                "group": scan.pools[number].name,
                "target": vocabulary.names.astype(object),
                "target_id": vocabulary.gene_ids.astype(object),
                **_expression(decoder, found, scan, number, own, null, vocabulary.n_genes),
                "moved": moved[at, N_SPECIAL:],
                "n_cells": counts[at, N_SPECIAL:],
            }
        )
        shown = measured.copy()
        shown[np.array(scan.table.sets[own]) - N_SPECIAL] = False
        table = table[shown]
        if np.isfinite(table["p_value"]).any():
            table["fdr"] = false_discovery_rate(table["p_value"].to_numpy())
        by = "effect" if table["effect"].notna().any() else "expression_change" if decoder is not None else "moved"
        table = table.iloc[np.argsort(-table[by].abs().fillna(-1).to_numpy(), kind="stable")]
        tables.append(table if most == "all" else table.head(most))
    return text_index(pd.concat(tables))


def _expression(
    decoder: np.ndarray | None, found: Found, scan: Scan, number: int, own: int, null: list[int], n_genes: int
) -> dict[str, np.ndarray]:
    """Return the decoded change of every gene beside those of the null sets; NaN without a decoder."""
    empty = np.full(n_genes, np.nan)
    out = dict.fromkeys(("expression_change", "null_mean", "effect", "p_value", "fdr"), empty)
    if decoder is None or found.moves is None:
        return out
    change = decoder @ found.moves[scan.slot_of[number, own]]
    run = [one for one in null if (number, one) in scan.slot_of]
    if len(run) < 2:
        return out | {"expression_change": change}
    beside = found.moves[[scan.slot_of[number, one] for one in run]] @ decoder.T
    for row, one in enumerate(run):  # a gene says nothing about how the loss of others acts on it
        beside[row, np.array(scan.table.sets[one]) - N_SPECIAL] = np.nan
    mean, spread, middle = np.nanmean(beside, 0), np.nanstd(beside, 0, ddof=1), np.nanmedian(beside, 0)
    far = (np.abs(beside - middle) >= np.abs(change - middle)).sum(0)
    p_value = (1 + far) / (1 + np.isfinite(beside).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(spread > 0, (change - mean) / spread, np.nan)
    return {"expression_change": change, "null_mean": mean, "effect": effect, "p_value": p_value, "fdr": empty}
