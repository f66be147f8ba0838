"""Which other genes change when a gene is edited, as the model sees it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer._running import AS_SET, Running
from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._copies import block_cuts, edit_block, token_states
from scflyformer.perturbation._shift import unit_vectors
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._cells import Embedder
    from scflyformer.perturbation._edit import Edits
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._scan_result import ScanResult
    from scflyformer.tokens._rows import TokenRows


def downstream_genes(
    embedder: Embedder,
    rows: TokenRows,
    plan: EditPlan,
    result: ScanResult,
    vocabulary: Vocabulary,
    *,
    wanted: pd.DataFrame,
    most: int | Literal["all"],
) -> pd.DataFrame:
    """Return, for each tested set and group, the measured genes that change most.

    Parameters
    ----------
    rows
        All cells, ranked.
    result
        What was read off; without ``result.moves`` no expression is decoded.
    wanted
        `gene` and `group` of the sets to describe.
    most
        Genes to keep: those with the largest effect, or, without a decoder, those that move most.
    """
    network = embedder.network
    names = set(zip(wanted["gene"], wanted["group"], strict=True))
    tested = [
        (number, place)
        for place, gene_set in enumerate(plan.sets)
        for number, group in enumerate(plan.groups)
        if place in plan.sets_of_group[number] and (gene_set.name, group.name) in names
    ]
    slots = np.unique([plan.slot_of[number, plan.sets_of_group[number][place][0]] for number, place in tested])
    kept = np.flatnonzero(np.isin(plan.slot, slots))
    row_of_copy = np.searchsorted(slots, plan.slot[kept])
    with _log.progress(total=len(kept), desc="downstream genes", unit="copy") as bar:
        moved, counts = contextual_moves(
            network, rows.take(plan.cells), plan.copies.take(kept), row_of_copy, bar=bar, running=embedder.running
        )
    measured = np.ones(vocabulary.n_genes, dtype=bool) if rows.panel is None else rows.panel
    decoder = None if result.moves is None else network.profile_decoder.weight.detach().cpu().numpy().astype(np.float64)
    tables = []
    for number, place in tested:
        set_number, *null = plan.sets_of_group[number][place]
        row = int(np.searchsorted(slots, plan.slot_of[number, set_number]))
        table = pd.DataFrame(
            {
                "gene": plan.sets[place].name,
                "group": plan.groups[number].name,
                "target": vocabulary.names.astype(object),
                "target_id": vocabulary.gene_ids.astype(object),
                **_expression_changes(decoder, result, plan, number, set_number, null, vocabulary.n_genes),
                "moved": moved[row, N_SPECIAL:],
                "n_cells": counts[row, N_SPECIAL:],
            }
        )
        shown = measured.copy()
        shown[np.array(plan.table.sets[set_number]) - N_SPECIAL] = False
        table = table[shown]
        if np.isfinite(table["p_value"]).any():
            table["fdr"] = false_discovery_rate(table["p_value"].to_numpy())
        by = "effect" if table["effect"].notna().any() else "expression_change" if decoder is not None else "moved"
        table = table.iloc[np.argsort(-table[by].abs().fillna(-1).to_numpy(), kind="stable")]
        tables.append(table if most == "all" else table.head(most))
    return text_index(pd.concat(tables))


def _expression_changes(
    decoder: np.ndarray | None,
    result: ScanResult,
    plan: EditPlan,
    number: int,
    set_number: int,
    null: list[int],
    n_genes: int,
) -> dict[str, np.ndarray]:
    """Return the decoded change of every gene beside those of the null sets; NaN without a decoder."""
    empty = np.full(n_genes, np.nan)
    out = dict.fromkeys(("expression_change", "null_mean", "effect", "p_value", "fdr"), empty)
    if decoder is None or result.moves is None:
        return out
    change = decoder @ result.moves[plan.slot_of[number, set_number]]
    run = [null_number for null_number in null if (number, null_number) in plan.slot_of]
    if len(run) < 2:
        return out | {"expression_change": change}
    null_changes = result.moves[[plan.slot_of[number, null_number] for null_number in run]] @ decoder.T
    for row, null_number in enumerate(run):  # a gene says nothing about how the loss of others acts on it
        null_changes[row, np.array(plan.table.sets[null_number]) - N_SPECIAL] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of genes that one null set or none is left for
        mean, spread = np.nanmean(null_changes, 0), np.nanstd(null_changes, 0, ddof=1)
        middle = np.nanmedian(null_changes, 0)
    far = (np.abs(null_changes - middle) >= np.abs(change - middle)).sum(0)
    p_value = (1 + far) / (1 + np.isfinite(null_changes).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = np.where(spread > 0, (change - mean) / spread, np.nan)
    return {"expression_change": change, "null_mean": mean, "effect": effect, "p_value": p_value, "fdr": empty}


def contextual_moves(
    network: CellBert,
    rows: TokenRows,
    edits: Edits,
    slot: np.ndarray,
    *,
    bar: Any = None,
    running: Running = AS_SET,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance between the contextual embeddings of each gene before and after an edit.

    The second-to-last layer is read, of the tokens that BERT reads. ``slot`` is the row of the result that each copy
    goes to, int64, shape (n_copies,).

    Returns
    -------
    1 - cosine, the mean over the copies in which the gene is there before and after, float64, shape (n_slots, n_tokens
    of the vocabulary), NaN where there is none; and the number of these copies.
    """
    width, limit = network.config.vocab_size, network.bert_len
    rows = rows.cut(limit)
    shape = int(slot.max(initial=-1)) + 1, width
    sums, counts = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for block in block_cuts(rows, edits):
        edited = edit_block(rows, edits, block, max_len=limit)
        unique, which = np.unique(edited.source, return_inverse=True)
        cells = rows.take(unique)
        before, after = (unit_vectors(token_states(network, part, running)) for part in (cells, edited.rows))
        # the place of a copy's token in its cell, found by (cell, token)
        home = np.repeat(np.arange(len(cells)), cells.lengths) * width + cells.tokens
        order = np.argsort(home)
        owner = np.repeat(np.arange(len(block)), edited.rows.lengths)[edited.shared]
        token = edited.rows.tokens[edited.shared]
        place = order[np.searchsorted(home[order], which[owner] * width + token)]
        moved = 1 - np.einsum("ij,ij->i", before[place], after[edited.shared]).astype(np.float64)
        np.add.at(sums, (slot[block][owner], token), moved)
        np.add.at(counts, (slot[block][owner], token), 1)
        if bar is not None:
            bar.update(len(block))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts
