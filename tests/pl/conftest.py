"""A perturbation run written by hand, in the layout of `tl.perturb`."""

from __future__ import annotations

from collections.abc import Callable

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scflyformer.perturbation._p_values import null_effect, null_p_value
from scflyformer.stats._fdr import false_discovery_rate
from scflyformer.stats._intervals import t_interval

#: What a run measures: the readout, standard deviation between genes.
VALUES = (("shift", 1e-3), ("net_shift", 1e-3), ("age", 0.4), ("probability", 0.02))
N_SAMPLES, N_CELLS = 4, 60


def make_run(
    genes: tuple[str, ...] = ("fz2", "Msp300", "Hsp68"),
    groups: tuple[str, ...] = ("all",),
    *,
    n_null: int = 200,
    strong: int = 1,
    values: tuple[str, ...] = ("shift", "net_shift", "age", "probability"),
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
            for column, size in drawn:
                mean = size * (rng.uniform(4, 14) * (-1) ** number if number < strong else rng.standard_normal())
                mine[column] = mean + size * rng.standard_t(4, n_cells)
                other[column] = size * rng.standard_normal(n_null)
                means = mine.groupby("sample")[column].mean().to_numpy()
                low, high = t_interval(means)
                beside = other[column].to_numpy()
                row = {**about, "kind": params.get("kind", "delete"), "n_cells": n_cells, "n_samples": N_SAMPLES}
                row |= {"readout": column, "shift": means.mean(), "ci_low": low, "ci_high": high}
                middle, effect = null_effect(means.mean(), beside)
                row |= {"null_mean": middle, "p_value": null_p_value(means.mean(), beside), "effect": effect}
                row |= {"ci_over": "samples", "n_null": n_null, "n_start": N_CELLS, "gene_id": f"FBgn{number:07d}"}
                results.append(row)
            cells.append(mine)
            null.append(other)
    table = pd.DataFrame(results)
    table["fdr"] = table.groupby("readout")["p_value"].transform(lambda p: false_discovery_rate(p.to_numpy()))
    table = table.sort_values("readout", key=lambda names: names != "shift", kind="stable").reset_index(drop=True)
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
