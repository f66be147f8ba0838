"""The pasilla knock-down: removing ps in silico beside the changes that RNAi against ps made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import stats

from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._null_sets import gene_profile, match_nulls
from scflyformer.stats._fdr import false_discovery_rate

from .decoded import correlations, decoded_changes

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.models import Model

PS = "FBgn0261552"
SURE = 0.05
"""Adjusted p-value up to which a gene counts as changed by the knock-down."""
MIN_CPM = 5.0
"""Mean counts per million from which a gene takes part."""


def measured(path: Path) -> pd.DataFrame:
    """Return the knock-down's effect by FlyBase id: ``log_fc`` (log2, knock-down over control), ``p_value``, ``fdr``.

    Welch's t on log2(counts per million + 1), genes of `MIN_CPM` and above.
    """
    bulk = ad.read_h5ad(path)
    counts = bulk.X.toarray() if hasattr(bulk.X, "toarray") else np.asarray(bulk.X)
    cpm = counts / counts.sum(1, keepdims=True) * 1e6
    down = (bulk.obs["condition"] == "ps_RNAi").to_numpy()
    used = cpm.mean(0) >= MIN_CPM
    values = np.log2(cpm[:, used] + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        test = stats.ttest_ind(values[down], values[~down], equal_var=False)
    table = pd.DataFrame({"log_fc": values[down].mean(0) - values[~down].mean(0), "p_value": test.pvalue})
    table.index = pd.Index(bulk.var["FBgn"].astype(str).to_numpy()[used])
    table = table[np.isfinite(table["p_value"]) & ~table.index.duplicated()]
    return table.assign(fdr=false_discovery_rate(table["p_value"].to_numpy()))


def agreement(predicted: np.ndarray, log_fc: np.ndarray, sure: np.ndarray) -> dict[str, float]:
    """Compare predicted changes, told from their median, with measured ones.

    ``sign``: share of the genes changed for ``sure`` that are predicted in the measured direction; ``sure``: Spearman's
    correlation over them; ``all``: over all genes.
    """
    centred = predicted - np.median(predicted)
    same = np.sign(centred[sure]) == np.sign(log_fc[sure])
    return {
        "sign": float(same.mean()),
        "sure": float(stats.spearmanr(centred[sure], log_fc[sure]).statistic),
        "all": float(stats.spearmanr(centred, log_fc).statistic),
    }


def knock_down(
    cells_path: Path, bulk_path: Path, model: Model, *, n_cells: int, n_null: int, seed: int = 0
) -> dict[str, Any]:
    """Delete ps, and genes that stand alike, in cells that express ps; hold both against the measured knock-down.

    ``model`` and ``co-expression`` are the `agreement` of each; ``null`` and ``co-expression null`` those of the null
    genes.
    """
    adata = ad.read_h5ad(cells_path)
    column = np.flatnonzero(adata.var["FBgn"].astype(str) == PS)
    if not len(column):
        raise ValueError(f"{cells_path.name} did not measure ps ({PS}).")
    random = np.random.default_rng(seed)
    holding = np.flatnonzero(adata.X[:, column].toarray().ravel() > 0)
    chosen = np.sort(random.choice(holding, min(n_cells, len(holding)), replace=False))
    background = adata[np.sort(random.choice(len(adata), min(3000, len(adata)), replace=False))].copy()
    rows, _ = _adata.token_rows(adata[chosen].copy(), model, Reading(gene_key="FBgn"), progress=False)

    index = resolve_genes(adata.var["FBgn"].to_numpy(dtype=object), model.vocabulary).index
    ps = int(resolve_genes([PS], model.vocabulary).index[0])
    detection, rank = gene_profile(rows.indptr, rows.tokens, N_SPECIAL + model.vocabulary.n_genes)
    there = np.flatnonzero(detection > 0)
    null = match_nulls(detection, rank, ps + N_SPECIAL, there, n_null, random) - N_SPECIAL
    tested = np.concatenate([[ps], null])
    changes, _ = decoded_changes(model.network(), rows, tested)

    effect = measured(bulk_path)
    ids = model.vocabulary.gene_ids.astype(str)
    shared = index[np.isin(index, resolve_genes(effect.index.to_numpy(dtype=object), model.vocabulary).index)]
    shared = np.array([gene for gene in shared if gene >= 0 and gene != ps and ids[gene] in effect.index])
    known = effect.loc[ids[shared]]
    log_fc, sure = known["log_fc"].to_numpy(), (known["fdr"] <= SURE).to_numpy()
    place = {gene: number for number, gene in enumerate(index.tolist())}
    columns = np.array([place[gene] for gene in shared.tolist()])
    with_each = correlations(_adata.log_expression(background)[0], np.array([place[gene] for gene in tested.tolist()]))

    apart = [shared != gene for gene in tested]  # a gene's own loss is no prediction
    ours = [agreement(row[shared][kept], log_fc[kept], sure[kept]) for row, kept in zip(changes, apart, strict=True)]
    theirs = [
        agreement(-row[columns][kept], log_fc[kept], sure[kept]) for row, kept in zip(with_each, apart, strict=True)
    ]
    return {
        "n_cells": len(chosen), "n_genes": len(shared), "n_sure": int(sure.sum()), "n_null": len(null),
        "down": float((log_fc[sure] < 0).mean()),
        "model": ours[0], "null": ours[1:], "co-expression": theirs[0], "co-expression null": theirs[1:],
    }  # fmt: skip


def upper_p(observed: float, null: np.ndarray) -> float:
    """Return (1 + number of null values at least as high) / (1 + number of null values)."""
    return float((1 + np.sum(null >= observed)) / (1 + len(null)))
