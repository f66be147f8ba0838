"""A scan of a clock's genes: what is edited in which cells, null genes beside it, and the table of what came out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._nulls import null_effect, null_p_value
from scflyformer.tl._perturb_plan import GeneSet
from scflyformer.tl._perturb_run import SetTable, Shifts, by_set, draw_nulls, pair_up
from scflyformer.tl._perturb_tables import join_names, summarise
from scflyformer.tl._tables import text_index

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.network._perturbed import Kind
    from scflyformer.tl._clock_genes_run import Clock

RESULTS = (
    "gene",
    "gene_id",
    "group",
    "kind",
    "n_cells",
    "n_samples",
    "change",
    "ci_low",
    "ci_high",
    "share_older",
    "null_mean",
    "effect",
    "p_value",
    "fdr",
    "ci_over",
    "n_null",
)
"""Columns of the results."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The cells of a group that are edited.

    Attributes
    ----------
    name
        The group.
    cells
        Positions in `obs`.
    row
        The row of the clock that dates them.
    """

    name: str
    cells: np.ndarray
    row: int


@dataclass(frozen=True, eq=False)
class Scan:
    """What is edited where.

    Attributes
    ----------
    pools
        The groups.
    sets
        The gene sets that results are wanted of.
    wanted
        For each group: place in ``sets`` → number in ``table`` of the set, then those of its null sets.
    table
        All different sets, null sets included.
    pairs
        Cell (position among the cells of all groups, one after the other) and number of each edited copy.
    ends
        Where each group's pairs end.
    """

    pools: list[Pool]
    sets: list[GeneSet]
    wanted: list[dict[int, list[int]]]
    table: SetTable
    pairs: tuple[np.ndarray, np.ndarray]
    ends: np.ndarray


def plan_scan(
    drawn: Clock, pools: list[Pool], sets: list[GeneSet] | None, *, kind: Kind, min_cells: int, n_null: int, seed: int
) -> Scan:
    """Choose null sets, and pair cells with the sets to edit in them.

    Parameters
    ----------
    drawn
        The clock with the cells of all groups, one after the other.
    pools
        The groups.
    sets
        Gene sets by the clock's numbers; `None` for all genes.
    kind
        The edit.
    min_cells
        For all genes: least cells of a group that express a gene.
    n_null, seed
        Null sets for each set, seed.
    """
    ranked, vocabulary = drawn.ranked(), drawn.known.vocabulary
    bounds = np.cumsum([0, *(len(pool.cells) for pool in pools)])
    parts = [ranked.take(np.arange(start, stop)) for start, stop in pairwise(bounds)]
    if sets is None:  # each gene stands against the other genes scanned in its group
        counts = [np.bincount(part.tokens, minlength=vocabulary.n_tokens) for part in parts]
        seen = [np.flatnonzero(count >= min_cells) for count in counts]
        every = np.unique(np.concatenate(seen))
        sets = [GeneSet(str(vocabulary.names[gene - N_SPECIAL]), (int(gene),)) for gene in every]
        places = [np.searchsorted(every, genes) for genes in seen]
        beside = [part.select(np.isin(part.tokens, genes)) for part, genes in zip(parts, seen, strict=True)]
    else:
        seen = [np.unique(ranked.tokens)] * len(pools)
        places, beside = [np.arange(len(sets))] * len(pools), parts

    table, wanted = SetTable(), []
    for pool, own, part, measured in zip(pools, places, beside, seen, strict=True):
        null = draw_nulls(
            [sets[place] for place in own],
            part,
            measured,
            kind=kind,
            n_tokens=vocabulary.n_tokens,
            n=n_null,
            seed=seed,
            group=pool.name,
        )
        wanted.append(
            {int(own[at]): [table.add(one) for one in (sets[own[at]].tokens, *others)] for at, others in null.items()}
        )
    matrix, pairs = table.matrix(), []
    for start, part, asked in zip(bounds[:-1], parts, wanted, strict=True):
        chosen = np.array(sorted({number for numbers in asked.values() for number in numbers}), dtype=np.int64)
        cells, which = pair_up(part, matrix, chosen, kind=kind)
        pairs.append((cells + start, which))
    together = tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    ends = np.cumsum([len(cells) for cells, _ in pairs])
    return Scan(pools, sets, wanted, table, (together[0], together[1]), ends)


def scan_results(
    scan: Scan, changes: np.ndarray, samples: np.ndarray, vocabulary: Vocabulary, *, kind: Kind
) -> pd.DataFrame:
    """Sum up the changes in predicted age.

    Parameters
    ----------
    scan
        What was edited where.
    changes
        Change of each pair; NaN where there is none.
    samples
        Sample of each cell in `obs`.
    vocabulary
        The genes that the clock reads.
    kind
        The edit.

    Returns
    -------
    The results as `tl.clock_genes` documents them, sets outermost.
    """
    cells = np.concatenate([pool.cells for pool in scan.pools])[scan.pairs[0]]
    split = [np.split(array, scan.ends[:-1]) for array in (cells, scan.pairs[1], changes[:, None])]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for at, (pool, asked, *own) in enumerate(zip(scan.pools, scan.wanted, *split, strict=True)):
        if not asked:  # the group expresses none of the genes
            continue
        rows = {number: _row(one, samples) for number, one in by_set(scan.table, *own).items()}
        for place, (tested, *null) in asked.items():
            row, one = rows[tested], scan.sets[place]
            beside = np.array([rows[number]["change"] for number in null if number in rows], dtype=np.float64)
            mean, effect = null_effect(row["change"], beside)
            found[place, at] = {
                "gene": one.name,
                "gene_id": join_names(vocabulary.gene_ids, one.tokens),
                "group": pool.name,
                "kind": kind,
                **row,
                "null_mean": mean,
                "effect": effect,
                "p_value": null_p_value(row["change"], beside),
                "n_null": int(np.isfinite(beside).sum()),
            }
    table = pd.DataFrame([found[key] for key in sorted(found)])
    table["fdr"] = false_discovery_rate(table["p_value"].to_numpy())
    return text_index(table[list(RESULTS)])


def left_out(scan: Scan, unread: list[str], bare: list[str], *, asked: bool) -> tuple[list[str], pd.DataFrame]:
    """Return the names without any result, and why each combination of gene and group has none.

    Parameters
    ----------
    scan
        What was edited where.
    unread
        Names that the clock does not read.
    bare
        Groups without cells to edit.
    asked
        Whether genes were asked for by name.
    """
    reasons = [(name, "all", "not read by the clock") for name in unread]
    reasons += [("all", label, "no cells with counts in the genes that the clock reads") for label in bare]
    if asked:
        reasons += [
            (one.name, pool.name, "not expressed in the drawn cells")
            for place, one in enumerate(scan.sets)
            for pool, found in zip(scan.pools, scan.wanted, strict=True)
            if place not in found
        ]
    done = {place for found in scan.wanted for place in found}
    absent = [*unread, *(one.name for place, one in enumerate(scan.sets) if place not in done)]
    return absent, text_index(pd.DataFrame(reasons, columns=["gene", "group", "reason"], dtype=object))


def _row(one: Shifts, samples: np.ndarray) -> dict[str, Any]:
    row = summarise(one, samples)
    known = one.values[np.isfinite(one.values)]
    row["change"] = row.pop("shift")
    return row | {"share_older": float((known > 0).mean()) if len(known) else float("nan")}
