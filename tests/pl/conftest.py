"""A perturbation run written by hand, in the layout of `tl.perturb`."""

from __future__ import annotations

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scflyformer.perturbation._nulls import null_effect, null_p_value
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._intervals import t_interval

#: What a run measures: column of the value, what stands before the others, standard deviation between genes.
VALUES = (("shift", "", 1e-3), ("age_change", "age_", 0.4), ("probability_change", "probability_", 0.02))
N_SAMPLES, N_CELLS = 4, 60


def make_run(
    genes: tuple[str, ...] = ("fz2", "Msp300", "Hsp68"),
    groups: tuple[str, ...] = ("all",),
    *,
    n_null: int = 200,
    strong: int = 1,
    values: tuple[str, ...] = ("shift", "age_change", "probability_change"),
    seed: int = 0,
    **params: object,
) -> ad.AnnData:
    """Draw the tables of a run; the first ``strong`` genes of a group move cells, in turn towards and away."""
    rng = np.random.default_rng(seed)
    drawn = [value for value in VALUES if value[0] in values]
    results, cells, null = [], [], []
    for group in groups:
        for number, gene in enumerate(genes):
            about = {"gene": gene, "group": group}
            n_cells = int(rng.integers(N_CELLS // 2, N_CELLS))
            mine = pd.DataFrame(about, index=range(n_cells)).assign(cell=[f"c{n}" for n in range(n_cells)])
            mine["sample"] = [f"s{n % N_SAMPLES}" for n in range(n_cells)]
            other = pd.DataFrame(about, index=range(n_null)).assign(null_gene=[f"n{n}" for n in range(n_null)])
            other["n_cells"] = n_cells
            row = {**about, "kind": params.get("kind", "delete"), "n_cells": n_cells, "n_samples": N_SAMPLES}
            for column, prefix, size in drawn:
                mean = size * (rng.uniform(4, 14) * (-1) ** number if number < strong else rng.standard_normal())
                mine[column] = mean + size * rng.standard_t(4, n_cells)
                other[column] = size * rng.standard_normal(n_null)
                means = mine.groupby("sample")[column].mean().to_numpy()
                low, high = t_interval(means)
                beside = other[column].to_numpy()
                row |= {column: means.mean(), f"{prefix}ci_low": low, f"{prefix}ci_high": high}
                middle, effect = null_effect(means.mean(), beside)
                row |= {f"{prefix}null_mean": middle, f"{prefix}p_value": null_p_value(means.mean(), beside)}
                row |= {"effect": effect} if not prefix else {}
            row |= {"ci_over": "samples", "n_null": n_null, "n_start": N_CELLS, "gene_id": f"FBgn{number:07d}"}
            results.append(row)
            cells.append(mine)
            null.append(other)
    table = pd.DataFrame(results)
    for _, prefix, _ in drawn:
        table[f"{prefix}fdr"] = false_discovery_rate(table[f"{prefix}p_value"].to_numpy())
    adata = ad.AnnData(np.ones((2, 1), np.float32))
    about_run = {"kind": "delete", "state_key": "age", "start": "30", "goal": "5", "alt": np.array([], dtype=object)}
    adata.uns["perturb"] = {
        "results": table,
        "cells": pd.concat(cells, ignore_index=True),
        "null": pd.concat(null, ignore_index=True),
        "params": about_run | params,
    }
    return adata


@pytest.fixture
def perturb_run() -> Callable[..., ad.AnnData]:
    """Return :func:`make_run`."""
    return make_run
