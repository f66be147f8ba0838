"""Columns of tables of what edits did, and the results of `tl.clock_genes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.perturbation._gene_sets import join_names
from scflyformer.perturbation._p_values import compare_with_nulls
from scflyformer.perturbation._shift import sample_means
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._intervals import t_interval

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._edit_plan import EditPlan, SetReadout

RESULTS = (
    "gene",
    "group",
    "readout",
    "kind",
    "n_cells",
    "n_samples",
    "shift",
    "ci_low",
    "ci_high",
    "null_mean",
    "effect",
    "n_null",
    "p_value",
    "p_states",
    "fdr",
    "test",
    "log_fc",
    "noise",
    "interpretable",
    "gene_id",
)
"""Columns of the results of `tl.perturb`, in this order."""

CLOCK_RESULTS = (
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
"""Columns of the results of `tl.clock_genes`, in this order."""


class Summary(TypedDict):
    """Cells, samples, the mean over sample means, its 95 % t interval, and what that is over."""

    n_cells: int
    n_samples: int
    shift: float
    ci_low: float
    ci_high: float
    ci_over: str


def summarise(readout: SetReadout, samples: np.ndarray, column: int = 0) -> Summary:
    """Sum up what was read off; the interval is over sample means, or over cells where there is one sample."""
    values, own_samples = readout.values[:, column], samples[readout.cells]
    means = sample_means(values, own_samples)
    several = len(means) > 1
    low, high = t_interval(means if several else values[np.isfinite(values)])
    return {
        "n_cells": int(np.isfinite(values).sum()),
        "n_samples": len(means),
        "shift": _mean(means),
        "ci_low": low,
        "ci_high": high,
        "ci_over": "samples" if several else "cells",
    }


def shift_columns(alt: list[str]) -> list[str]:
    """Return the columns with shifts: towards the goal, the start and each alternative, ``/`` written as ``|``."""
    columns = ["shift", "shift_start"]
    for label in alt:
        name = f"shift_{label}".replace("/", "|")
        while name in columns:
            name += "_alt"
        columns.append(name)
    return columns


@dataclass(frozen=True, eq=False)
class SetResult:
    """What the edit of one gene set did in one group: what is said of it first, and each column beside null sets."""

    about: dict[str, Any]
    values: np.ndarray
    summaries: list[Summary]
    judged: list[dict[str, float | int]]


def set_results(plan: EditPlan, values: np.ndarray, samples: np.ndarray, vocabulary: Vocabulary) -> list[SetResult]:
    """Return the results of all sets, sets outermost, from what was read off the copies, n_copies × n_columns."""
    columns, found = range(values.shape[1]), dict[tuple[int, int], SetResult]()
    by_group = zip(plan.groups, plan.sets_of_group, plan.by_set(values), strict=True)
    for at, (group, in_group, readouts) in enumerate(by_group):
        summaries = {
            number: [summarise(readout, samples, column) for column in columns] for number, readout in readouts.items()
        }
        for place, (number, *null) in in_group.items():
            own, gene_set, ran = summaries[number], plan.sets[place], [which for which in null if which in summaries]
            beside = [np.array([summaries[which][column]["shift"] for which in ran], dtype=float) for column in columns]
            judged = [compare_with_nulls(one["shift"], nulls) for one, nulls in zip(own, beside, strict=True)]
            gene_id = join_names(vocabulary.gene_ids, gene_set.tokens)
            about = {"gene": gene_set.name, "gene_id": gene_id, "group": group.name, "kind": plan.kind}
            found[place, at] = SetResult(about, readouts[number].values, own, judged)
    return [found[key] for key in sorted(found)]


def clock_results(plan: EditPlan, changes: np.ndarray, samples: np.ndarray, vocabulary: Vocabulary) -> pd.DataFrame:
    """Return the results as `tl.clock_genes` documents them, from the change of each copy."""
    rows = [
        {
            **each.about,
            **each.summaries[0],
            "change": each.summaries[0]["shift"],
            "share_older": share_above_zero(each.values[:, 0]),
            **each.judged[0],
        }
        for each in set_results(plan, changes[:, None], samples, vocabulary)
    ]
    table = pd.DataFrame(rows)
    table["fdr"] = false_discovery_rate(table["p_value"].to_numpy())
    return text_index(table[list(CLOCK_RESULTS)])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def share_above_zero(values: np.ndarray) -> float:
    """Return the share of the finite values that are above 0."""
    return _mean(values[np.isfinite(values)] > 0)
