"""Whether two genes together do more than each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._nulls import beside_nulls
from scflyformer.perturbation._scan import Shifts
from scflyformer.perturbation._tables import summarise
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.perturbation._run import Found
    from scflyformer.perturbation._scan import Scan, Tokens

COLUMNS = (
    "gene",
    "gene_a",
    "gene_b",
    "group",
    "kind",
    "n_cells",
    "n_samples",
    "interaction",
    "ci_low",
    "ci_high",
    "null_mean",
    "effect",
    "p_value",
    "fdr",
    "n_null",
)


def interactions(
    scan: Scan, found: Found, pairs: Sequence[int], samples: np.ndarray, symbols: np.ndarray, *, kind: str
) -> pd.DataFrame:
    """Return the shift of both genes less the shifts of each, in the cells where all three were run.

    Parameters
    ----------
    scan, found
        What was edited, and what was read off.
    pairs
        Places of the pairs among the scan's sets.
    samples
        Sample of each cell.
    symbols
        Reading name of each vocabulary gene.
    kind
        The edit.
    """
    rows: list[dict[str, Any]] = []
    for place in pairs:
        for pool, wanted, shifts in zip(scan.pools, scan.wanted, found.shifts, strict=True):
            if place not in wanted:
                continue
            tested, *null = (_interaction(scan.table.sets[number], scan, shifts) for number in wanted[place])
            if tested is None:
                continue
            row = summarise(tested, samples)
            beside = np.array([summarise(one, samples)["shift"] for one in null if one is not None])
            first, second = (str(symbols[token - N_SPECIAL]) for token in tested.tokens)
            rows.append(
                {"gene": scan.sets[place].name, "gene_a": first, "gene_b": second, "group": pool.name, "kind": kind}
                | row
                | {"interaction": row["shift"]}
                | beside_nulls(row["shift"], beside)
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["fdr"] = false_discovery_rate(table["p_value"].to_numpy(dtype=np.float64))
    return text_index(table)


def _interaction(tokens: Tokens, scan: Scan, shifts: dict[int, Shifts]) -> Shifts | None:
    """Return together less each, in cells that were run for both and for each; `None` where there are none."""
    numbers = [scan.table.number.get(part) for part in (tokens, *((token,) for token in tokens))]
    parts = [shifts[number] for number in numbers if number in shifts]
    if len(tokens) != 2 or len(parts) < 3:  # drawn twice the same null gene, or one that no cell holds
        return None
    both, first, second = parts
    cells = np.intersect1d(np.intersect1d(both.cells, first.cells), second.cells)
    if not len(cells):
        return None
    values = [part.values[np.searchsorted(part.cells, cells), :1] for part in parts]
    return Shifts(tokens, cells, values[0] - values[1] - values[2])
