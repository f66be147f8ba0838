"""Small models of human cells, each pretrained without the set of cells that it is asked about."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

HUMAN = "human model, adapted"
GENE_KEY = "gene_symbol"
N_GENES = 2500
SHAPE = {"hidden_size": 96, "n_layers": 2, "code_size": 64, "n_directions": 128}
TRAINING = {"epochs": 3.0, "batch_tokens": 2048, "warmup_steps": 50}
"""Small batches and a short warm-up: with the defaults, 2,000 cells would end before the learning rate is reached."""
PANCREAS, PBMC = "human pancreas, 13 types", "human PBMC, 10 types (cells split)"
OTHERS = {PANCREAS: ("zheng_facs_3874", "zheng_sorted_scminer_3500"), PBMC: ("baron_pancreas_human_2142",)}
"""Sets to pretrain on. The two sorted PBMC sets are of one study, so that neither is pretrained on to ask the other."""


def most_expressed(sets: Iterable[ad.AnnData], n: int) -> list[str]:
    """Return the ``n`` gene symbols that most cells of all sets express, in alphabetical order."""
    expressing: dict[str, int] = {}
    for cells in sets:
        for gene, n_cells in zip(cells.var[GENE_KEY].astype(str), cells.X.getnnz(axis=0), strict=True):
            expressing[gene] = expressing.get(gene, 0) + int(n_cells)
    return sorted(sorted(expressing, key=lambda gene: (-expressing[gene], gene))[:n])


def cut(cells: ad.AnnData, genes: Iterable[str]) -> ad.AnnData:
    """Return cells with these genes alone, and without their labels."""
    used = np.isin(cells.var[GENE_KEY].astype(str), list(genes))
    return ad.AnnData(cells.X[:, used], var=cells.var.loc[used, [GENE_KEY]].copy())


def human_model(name: str, data: Path, work: Path, **options: Any) -> Path:
    """Return the model for a set of cells; where there is none, pretrain and keep it."""
    import scflyformer as sf

    out = work / "human-models" / OTHERS[name][0]
    if not (out / "model.safetensors").exists():
        sets = [ad.read_h5ad(data / "human" / f"{file}.h5ad") for file in OTHERS[name]]
        genes = most_expressed(sets, N_GENES)
        shutil.rmtree(out, ignore_errors=True)  # what a run of other code left is not gone on from
        chosen = sf.tl.PretrainOptions(**SHAPE | TRAINING | options)
        sf.tl.pretrain([cut(cells, genes) for cells in sets], out=out, gene_key=GENE_KEY, options=chosen)
    return out
