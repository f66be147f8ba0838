"""Are p-values uniform where there is nothing to find? States dealt at random to real cells of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anndata as ad
import numpy as np
from scipy import stats

import scflyformer as sf
from scflyformer.genes._resolve import resolve_genes

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model

Unit = Literal["samples", "cells"]
STATES = ("a", "b")
P_VALUES = {
    "p_value": ("shift", "p_value"), "p_tail": ("shift", "p_tail"), "net_p_value": ("net_shift", "p_value"),
    "net_p_tail": ("net_shift", "p_tail"), "p_label": ("shift", "p_label"),
}  # fmt: skip
"""Columns of p-values: of the shift and of the net shift, by rank and in a fitted tail, and of the permuted labels."""
MIN_DETECTION = 0.1
"""Share of the cells that express a gene at least, for it to be drawn."""


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
    """Read the cells of a type, those of libraries with 4 or more."""
    adata = ad.read_h5ad(path)
    some = adata[(adata.obs["cell_type"] == label).to_numpy()]
    sizes = some.obs["batch"].value_counts()
    return some[some.obs["batch"].isin(sizes.index[sizes >= 4]).to_numpy()].copy()


def one_deal(
    adata: ad.AnnData, model: Model, unit: Unit, number: int, *, n_genes: int, n_null: int, max_cells: int
) -> dict[str, list[float]]:
    """Deal states, delete random genes, and return p-values by the names of `P_VALUES`; ``number`` is the seed."""
    random = np.random.default_rng([number, len(unit)])
    order = np.argsort(adata.obs_names.to_numpy(dtype=str), kind="stable")
    cells = adata[order].copy()
    cells.obs["dealt"] = deal(cells.obs["batch"].to_numpy(dtype=str), unit, random)
    names = cells.var["FBgn"].to_numpy(dtype=object)
    detection = np.asarray((cells.X > 0).mean(0)).ravel()
    known = resolve_genes(names, model.vocabulary).index >= 0
    genes = random.choice(np.sort(names[known & (detection >= MIN_DETECTION)]), n_genes, replace=False)
    sf.tl.perturb(
        cells, genes=genes.tolist(), state_key="dealt", start=STATES[0], goal=STATES[1], sample_key="batch",
        gene_key="FBgn", model=model.path, n_null=n_null, max_cells=max_cells, seed=number,
    )  # fmt: skip
    tables = {readout: sf.get.perturb_df(cells, readout=readout) for readout in ("shift", "net_shift")}
    return {name: tables[readout][p].dropna().astype(float).tolist() for name, (readout, p) in P_VALUES.items()}


def uniformity(p_values: np.ndarray) -> dict[str, float]:
    """Return ``ks`` and ``ks_p`` of Kolmogorov and Smirnov's test against uniform, and the share up to 0.05."""
    test = stats.kstest(p_values, "uniform")
    return {"ks": float(test.statistic), "ks_p": float(test.pvalue), "share": float((p_values <= 0.05).mean())}


def describe(deals: list[dict[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """Return, by column of p-values, `uniformity` over the genes of all deals, and an interval of the share over deals.

    Genes of one deal share null genes and a centroid; whole deals are resampled.
    """
    out: dict[str, dict[str, Any]] = {}
    for name in deals[0]:
        parts = [np.asarray(deal[name]) for deal in deals]
        random = np.random.default_rng(0)
        draws = [
            (np.concatenate([parts[number] for number in random.integers(len(parts), size=len(parts))]) <= 0.05).mean()
            for _ in range(1000)
        ]
        low, high = np.quantile(draws, [0.025, 0.975])
        everything = np.concatenate(parts)
        out[name] = uniformity(everything) | {"low": float(low), "high": float(high), "n": len(everything)}
        out[name]["rejected"] = float(np.mean([uniformity(part)["ks_p"] <= 0.05 for part in parts if len(part)]))
    return out
