"""Whether two genes together do more than each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._edit_plan import SetReadout
from scflyformer.perturbation._p_values import compare_with_nulls
from scflyformer.perturbation._tables import summarise
from scflyformer.stats._fdr import false_discovery_rate

if TYPE_CHECKING:
    from scflyformer.perturbation._edit_plan import EditPlan
    from scflyformer.perturbation._gene_sets import Tokens
    from scflyformer.perturbation._scan_result import ScanResult

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


def interactions(plan: EditPlan, result: ScanResult, samples: np.ndarray, symbols: np.ndarray) -> pd.DataFrame:
    """Return for each pair the shift of both genes less the shifts of each, in the cells where all three were run.

    ``samples`` are those of all cells of the object; ``symbols`` name the vocabulary genes.
    """
    rows: list[dict[str, Any]] = []
    by_set = plan.by_set(result.values)
    for place in (place for place, gene_set in enumerate(plan.sets) if gene_set.is_pair):
        for group, in_group, shifts in zip(plan.groups, plan.sets_of_group, by_set, strict=True):
            if place not in in_group:
                continue
            tested, *null = (_interaction(plan.table.sets[number], plan, shifts) for number in in_group[place])
            if tested is None:
                continue
            summary = summarise(tested, samples)
            null_shifts = np.array([summarise(pair, samples)["shift"] for pair in null if pair is not None])
            first, second = (str(symbols[token - N_SPECIAL]) for token in tested.tokens)
            rows.append(
                {
                    "gene": plan.sets[place].name,
                    "gene_a": first,
                    "gene_b": second,
                    "group": group.name,
                    "kind": plan.kind,
                    **summary,
                    "interaction": summary["shift"],
                    **compare_with_nulls(summary["shift"], null_shifts),
                }
            )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["fdr"] = false_discovery_rate(table["p_value"].to_numpy(dtype=np.float64))
    return text_index(table)


def _interaction(tokens: Tokens, plan: EditPlan, shifts: dict[int, SetReadout]) -> SetReadout | None:
    """Return together less each, in cells that were run for both and for each; `None` where there are none."""
    numbers = [plan.table.number.get(part) for part in (tokens, *((token,) for token in tokens))]
    parts = [shifts[number] for number in numbers if number in shifts]
    if len(tokens) != 2 or len(parts) < 3:  # drawn twice the same null gene, or one that no cell holds
        return None
    both, first, second = parts
    cells = np.intersect1d(np.intersect1d(both.cells, first.cells), second.cells)
    if not len(cells):
        return None
    values = [part.values[np.searchsorted(part.cells, cells), :1] for part in parts]
    return SetReadout(tokens, cells, values[0] - values[1] - values[2])
