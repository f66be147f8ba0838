"""What a perturbation run found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.data._columns import plain_names
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._nulls import beside_nulls, label_p_value, tail_p_value
from scflyformer.perturbation._scan import MIN_CELLS
from scflyformer.perturbation._shift import sample_means
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._intervals import t_interval

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.perturbation._cells import EmbeddedCells
    from scflyformer.perturbation._run import Found
    from scflyformer.perturbation._scan import Scan, Shifts

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
    "readout",
    "ci_over",
    "n_null",
    "n_start",
    "gene_id",
    "p_tail",
    "fdr_tail",
)
"""Columns of the results, in this order; those that not every run has follow."""


UNEXPRESSED = "measured, but not expressed in the perturbed cells"
"""Why a gene that the model knows and the data hold has no row."""


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
    scan: Scan,
    found: Found,
    columns: list[str],
    cells: EmbeddedCells,
    vocabulary: Vocabulary,
    *,
    kind: str,
) -> dict[str, pd.DataFrame]:
    """Sum up a scan.

    Parameters
    ----------
    scan, found
        What was edited, and what was read off.
    columns
        Name of each readout, ``"shift"`` first.
    cells
        All cells.
    vocabulary
        The genes.
    kind
        The edit.

    Returns
    -------
    ``"results"``, ``"cells"`` and ``"null"``, as `tl.perturb` documents them.
    """
    results, by_cell, null = [], [], []
    samples, names = cells.samples, cells.names

    @cache  # in a scan of all genes each is a null gene of many
    def mean_of(group: int, at: int, column: int) -> tuple[float, int]:
        one = found.shifts[group][at]
        values = one.values[:, column]
        return _mean(sample_means(values, samples[one.cells])), int(np.isfinite(values).sum())

    for place, number in sorted((place, at) for at, own in enumerate(scan.wanted) for place in own):
        pool, shifts = scan.pools[number], found.shifts[number]
        own, *beside = scan.wanted[number][place]
        about = {"gene": scan.sets[place].name, "group": pool.name}
        one, beside = shifts[own], [at for at in beside if at in shifts]
        row: dict[str, Any] = {"n_start": len(pool.cells), "gene_id": join_names(vocabulary.gene_ids, one.tokens)}
        table: dict[str, Any] = {"null_gene": [join_names(vocabulary.names, shifts[at].tokens) for at in beside]}
        for column, name in enumerate(columns):
            summary = summarise(one, samples, column)
            drawn = [mean_of(number, at, column) for at in beside]
            values = np.array([mean for mean, _ in drawn], dtype=np.float64)
            judged = summary | beside_nulls(summary["shift"], values)
            judged["p_tail"] = tail_p_value(summary["shift"], values)
            table |= {name: values} | ({"n_cells": [n for _, n in drawn]} if name == "shift" else {})
            if found.labels is not None:
                null_labels = found.labels[[scan.slot_of[number, at] for at in beside]]
                p_label = label_p_value(found.labels[scan.slot_of[number, own]], null_labels)
                judged["p_label"] = p_label if name == "shift" else np.nan
            results.append({**about, "kind": kind, "readout": name, **row, **judged})
        null.append(pd.DataFrame({**about, **table}))
        by_cell.append(_cell_table(about, one, columns, names, samples))
    null_columns = ["gene", "group", "null_gene", "n_cells", *columns]
    empty = pd.DataFrame(columns=null_columns).astype(dict.fromkeys(columns, np.float64))
    filled = [table for table in null if len(table)]
    null_table = pd.concat(filled, ignore_index=True)[null_columns] if filled else empty
    return {
        "results": _by_readout(pd.DataFrame(results), columns),
        "cells": pd.concat(by_cell, ignore_index=True),
        "null": null_table.astype({"n_cells": np.int64}),
    }


def summarise(shifts: Shifts, samples: np.ndarray, column: int = 0) -> dict[str, Any]:
    """Return cells, samples, the mean over sample means of what was read off, and its 95 % t interval.

    The interval is over sample means, or over cells where there is one sample.
    """
    values, own = shifts.values[:, column], samples[shifts.cells]
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


def left_out(
    unknown: Mapping[str, str], unmeasured: Mapping[str, str], scan: Scan, bare: list[str], *, every: bool
) -> tuple[dict[str, str], pd.DataFrame]:
    """Return the names without any result with the reason, and why each combination of gene and group has none.

    Parameters
    ----------
    unknown
        Names that are not in the scan, and why.
    unmeasured
        Names in the scan of which the data measure no gene, and why.
    scan
        What was edited where.
    bare
        Groups without start or goal cells.
    every
        Whether all genes were asked for.
    """
    reasons = [(name, "all", reason) for name, reason in unknown.items()]
    reasons += [("all", label, "no start or no goal cells") for label in bare]
    if every:
        empty = [pool.name for pool, wanted in zip(scan.pools, scan.wanted, strict=True) if not wanted]
        reasons += [("all", label, f"no gene in {MIN_CELLS} perturbed cells") for label in empty]
        return dict(unknown), skipped_table(reasons)
    nowhere, lacking = scan.without_cells()
    reasons += [(*one, unmeasured.get(one[0], UNEXPRESSED)) for one in lacking]
    return {**unknown, **{name: unmeasured.get(name, UNEXPRESSED) for name in nowhere}}, skipped_table(reasons)


def skipped_table(reasons: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Return what has no row in the results: gene, group and why."""
    return pd.DataFrame(reasons, columns=["gene", "group", "reason"], dtype=object)


def _by_readout(results: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the rows one readout after the other, with p-values adjusted over the rows of each."""
    for p, fdr in (("p_value", "fdr"), ("p_tail", "fdr_tail")):
        results[fdr] = results.groupby("readout")[p].transform(lambda rows: false_discovery_rate(rows.to_numpy()))
    order = results["readout"].map({name: place for place, name in enumerate(columns)})
    results = results.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)
    return results[[*RESULTS, *(name for name in results if name not in RESULTS)]]


def _cell_table(
    about: dict[str, str], one: Shifts, columns: list[str], names: np.ndarray, samples: np.ndarray
) -> pd.DataFrame:
    kept = np.isfinite(one.values[:, 0])
    perturbed = one.cells[kept]
    read = dict(zip(columns, one.values[kept].T, strict=True))
    return pd.DataFrame(
        {**about, "cell": plain_names(names[perturbed]), "sample": samples[perturbed].astype(object), **read}
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def join_names(names: np.ndarray, tokens: tuple[int, ...]) -> str:
    """Return the names of a set's genes, joined by ``+``."""
    return "+".join(str(names[token - N_SPECIAL]) for token in tokens)
