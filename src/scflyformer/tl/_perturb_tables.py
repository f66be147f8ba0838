"""What a perturbation run found, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._nulls import null_effect, null_p_value, t_interval
from scflyformer.stats._shift import sample_means

if TYPE_CHECKING:
    from scflyformer.tl._perturb_run import Outcome, Shifts

RESULTS = (
    "gene",
    "group",
    "kind",
    "n_cells",
    "n_samples",
    "shift",
    "ci_low",
    "ci_high",
    "null_mean",
    "effect",
    "p_value",
    "fdr",
    "ci_over",
    "n_null",
    "n_start",
    "gene_id",
)
"""Columns of the results; shifts towards further states follow."""


def shift_columns(alt: list[str]) -> list[str]:
    """Return the columns with shifts: towards the goal, the start and each alternative, ``/`` written as ``|``."""
    columns = ["shift", "shift_start"]
    for label in alt:
        name = f"shift_{label}".replace("/", "|")
        while name in columns:
            name += "_alt"
        columns.append(name)
    return columns


def make_tables(
    outcomes: list[Outcome],
    *,
    kind: str,
    alt: list[str],
    names: np.ndarray,
    samples: np.ndarray,
    gene_ids: np.ndarray,
    symbols: np.ndarray,
) -> dict[str, pd.DataFrame]:
    """Sum up the outcomes.

    Parameters
    ----------
    outcomes
        Tested sets by group.
    kind
        The edit.
    alt
        Labels of the alternative states.
    names, samples
        Name and sample of each cell.
    gene_ids, symbols
        Id and reading name of each vocabulary gene.

    Returns
    -------
    ``"results"``, ``"cells"`` and ``"null"``, as `tl.perturb` documents them.
    """
    columns = shift_columns(alt)
    results, cells, null = [], [], []
    for outcome in outcomes:
        about = {"gene": outcome.one.name, "group": outcome.group.name}
        summary = summarise(outcome.shifts, samples)
        null_rows = [
            {**about, "null_gene": join_names(symbols, other.tokens), **_pick(summarise(other, samples))}
            for other in outcome.null
        ]
        null_shifts = np.array([row["shift"] for row in null_rows], dtype=np.float64)
        mean, effect = null_effect(summary["shift"], null_shifts)
        results.append(
            {
                **about,
                "kind": kind,
                **summary,
                "null_mean": mean,
                "effect": effect,
                "p_value": null_p_value(summary["shift"], null_shifts),
                "n_null": int(np.isfinite(null_shifts).sum()),
                "n_start": len(outcome.group.pool),
                "gene_id": join_names(gene_ids, outcome.shifts.tokens),
                **dict(zip(columns[1:], _other_shifts(outcome.shifts, samples), strict=True)),
            }
        )
        null += null_rows
        kept = np.isfinite(outcome.shifts.values[:, 0])
        perturbed = outcome.shifts.cells[kept]
        cells.append(
            pd.DataFrame(
                {
                    **about,
                    "cell": names[perturbed].astype(object),
                    "sample": samples[perturbed].astype(object),
                    **dict(zip(columns, outcome.shifts.values[kept].T, strict=True)),
                }
            )
        )
    table = pd.DataFrame(results)
    table["fdr"] = false_discovery_rate(table["p_value"].to_numpy())
    return {
        "results": table[[*RESULTS, *columns[1:]]],
        "cells": pd.concat(cells, ignore_index=True),
        "null": pd.DataFrame(null, columns=["gene", "group", "null_gene", "n_cells", "shift"]).astype(
            {"n_cells": np.int64, "shift": np.float64}
        ),
    }


def summarise(shifts: Shifts, samples: np.ndarray) -> dict[str, Any]:
    """Return cells, samples, the mean over sample means of the shift towards the goal, and its 95 % t interval.

    The interval is over sample means, or over cells where there is one sample.
    """
    values, own = shifts.values[:, 0], samples[shifts.cells]
    means = sample_means(values, own)
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


def _other_shifts(shifts: Shifts, samples: np.ndarray) -> list[float]:
    kept = np.isfinite(shifts.values[:, 0])
    own = samples[shifts.cells[kept]]
    return [_mean(sample_means(column, own)) for column in shifts.values[kept, 1:].T]


def _pick(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in ("n_cells", "shift")}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def join_names(names: np.ndarray, tokens: tuple[int, ...]) -> str:
    """Return the names of a set's genes, joined by ``+``."""
    return "+".join(str(names[token - N_SPECIAL]) for token in tokens)
