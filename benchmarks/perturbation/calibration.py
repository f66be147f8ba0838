"""What scans call where there is nothing to find: states dealt at random to real cells of one type."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
from scipy import stats

import scflyformer as sf

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model

Unit = Literal["samples", "cells"]
STATES = ("a", "b")
READOUTS = ("shift", "net_shift", "net_shift_linear", "net_shift_transformer")
P_VALUES = ("p_value", "p_states")
STRATA = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Bounds of strata by the share of the perturbed cells that hold a gene; genes that all hold are one of their own."""
LEAST_PER_LIBRARY, MOST_PER_LIBRARY = 8, 40
"""Cells of a library, those of fewer left out."""
LEVEL = 0.05


def deal(samples: np.ndarray, unit: Unit, random: np.random.Generator) -> np.ndarray:
    """Deal two states, as evenly as can be, to whole samples or to the cells within each sample."""
    _, code = np.unique(samples, return_inverse=True)
    if unit == "samples":
        n = int(code.max()) + 1
        return np.array(STATES)[random.permutation(n)[code] % 2]
    place = np.empty(len(samples), dtype=np.int64)
    for number in range(int(code.max()) + 1):
        inside = np.flatnonzero(code == number)
        place[inside] = random.permutation(len(inside)) + random.integers(2)
    return np.array(STATES)[place % 2]


def read_cells(path: Path, label: str) -> ad.AnnData:
    """Read the cells of a type, the first `MOST_PER_LIBRARY` by name of libraries with `LEAST_PER_LIBRARY` or more."""
    adata = ad.read_h5ad(path)
    some = adata[(adata.obs["cell_type"] == label).to_numpy()]
    some = some[np.argsort(some.obs_names.to_numpy(dtype=str), kind="stable")]
    by_library = some.obs.groupby("batch", observed=True)["batch"]
    kept = (by_library.transform("size") >= LEAST_PER_LIBRARY) & (by_library.cumcount() < MOST_PER_LIBRARY)
    return some[kept.to_numpy()].copy()


def one_deal(
    adata: ad.AnnData, model: Model, unit: Unit, number: int, *, pooling: Any, max_cells: int
) -> dict[str, Any]:
    """Deal states, scan all genes, and return by readout the number of calls and p-values; ``number`` is the seed.

    ``detection`` is the share of the perturbed cells that hold each gene, in the order of the p-values.
    """
    cells = adata.copy()
    cells.obs["dealt"] = deal(cells.obs["batch"].to_numpy(dtype=str), unit, np.random.default_rng([number, len(unit)]))
    sf.tl.perturb(
        cells, genes="all", state_key="dealt", start=STATES[0], goal=STATES[1], sample_key="batch", gene_key="FBgn",
        model=model.path, pooling=pooling, max_cells=max_cells, n_top=1, seed=number,
    )  # fmt: skip
    n_start = min(max_cells, int((cells.obs["dealt"] == STATES[0]).sum()))
    out: dict[str, Any] = {}
    known = cells.uns["perturb"]["results"]["readout"].unique()
    for readout in (readout for readout in READOUTS if readout in known):
        table = sf.get.perturb_df(cells, readout=readout)
        out[readout] = {"called": int((table["fdr"] <= LEVEL).sum())}
        out[readout] |= {name: table[name].astype(float).round(5).tolist() for name in P_VALUES}
        out["detection"] = (table["n_cells"] / n_start).round(4).tolist()
    return out


def strata(detection: np.ndarray) -> dict[str, np.ndarray]:
    """Return the genes of each stratum of detection, bool, by its bounds in words."""
    out = {
        f"{low:.0%} to {high:.0%} of cells": (detection >= low) & (detection < high) for low, high in pairwise(STRATA)
    }
    return out | {"all cells": detection >= STRATA[-1]}


def describe(deals: list[dict[str, Any]], readout: str) -> dict[str, Any]:
    """Return the share of scans that call a gene, and how p-values up to `LEVEL` and as a whole are spread.

    Genes of one deal depend on each other. So the share of small p-values has a t interval over deals; and Kolmogorov
    and Smirnov's test against uniform takes one gene of each stratum of each deal. By column of p-values: ``share``,
    ``low``, ``high``, ``ks_p``, and ``strata``, the share in each stratum.
    """
    from scflyformer.stats._intervals import t_interval

    out: dict[str, Any] = {"n": len(deals), "calling": sum(each[readout]["called"] > 0 for each in deals)}
    for name in (name for name in P_VALUES if np.isfinite(np.asarray(deals[0][readout][name], dtype=float)).any()):
        shares, drawn = [], []
        by_stratum: dict[str, list[float]] = {}
        for number, each in enumerate(deals):
            p_values, random = np.asarray(each[readout][name], dtype=float), np.random.default_rng(number)
            known = np.isfinite(p_values)
            shares.append((p_values[known] <= LEVEL).mean())
            for stratum, inside in strata(np.asarray(each["detection"])).items():
                values = p_values[inside & known]
                by_stratum.setdefault(stratum, []).extend(values <= LEVEL)
                if len(values):
                    drawn.append(random.choice(values))
        low, high = t_interval(np.array(shares))
        out[name] = {
            "share": float(np.mean(shares)), "low": low, "high": high,
            "ks_p": float(stats.kstest(drawn, "uniform").pvalue),
            "strata": {stratum: (float(np.mean(small)), len(small)) for stratum, small in by_stratum.items() if small},
        }  # fmt: skip
    return out
