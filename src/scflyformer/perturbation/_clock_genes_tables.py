"""What came out of a scan of a clock's genes, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.perturbation._nulls import beside_nulls
from scflyformer.perturbation._tables import join_names, skipped_table, summarise
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._edit import Kind
    from scflyformer.perturbation._scan import Scan, Shifts

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
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for at, (pool, asked, own) in enumerate(zip(scan.pools, scan.wanted, scan.by_set(changes[:, None]), strict=True)):
        rows = {number: _row(one, samples) for number, one in own.items()}
        for place, (tested, *null) in asked.items():
            row, one = rows[tested], scan.sets[place]
            beside = np.array([rows[number]["change"] for number in null if number in rows], dtype=np.float64)
            found[place, at] = {
                "gene": one.name,
                "gene_id": join_names(vocabulary.gene_ids, one.tokens),
                "group": pool.name,
                "kind": kind,
                **row,
                **beside_nulls(row["change"], beside),
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
    nowhere, lacking = scan.without_cells()
    if asked:
        reasons += [(*one, "not expressed in the drawn cells") for one in lacking]
    return [*unread, *nowhere], text_index(skipped_table(reasons))


def _row(one: Shifts, samples: np.ndarray) -> dict[str, Any]:
    row = summarise(one, samples)
    known = one.values[np.isfinite(one.values)]
    row["change"] = row.pop("shift")
    return row | {"share_older": float((known > 0).mean()) if len(known) else float("nan")}
