"""What the cells of a made-up atlas are drawn from: real cells where there are any, and rates of all other genes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from pathlib import Path

TISSUES = ("head", "body")
RATES = "fca_tissue_mean_expr_17tissues.csv.gz"
FLOOR = 1e-4
"""Counts per 10,000 of a gene that no table lists: hardly ever drawn."""
MADE_UP_CELLS, MADE_UP_TYPES, SPREAD = 20_000, 60, 0.4
"""Where no real data are: how many depths and types, and the standard deviation of the log number of genes a cell."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """Cells to draw from.

    ``genes`` has symbols as index, and ``FBgn``; ``panel`` counts of real cells in the genes that their data measured,
    empty rows where there are none; ``depth`` the genes of a cell over their mean; ``obs`` ``tissue``, ``cell_type``
    and ``sex``; ``types`` the type of each cell, a row of ``rates``, the relative levels of genes outside the panel,
    n_types × n_genes; ``source`` says where all this comes from.
    """

    genes: pd.DataFrame
    panel: sparse.csr_matrix
    depth: np.ndarray
    obs: pd.DataFrame
    types: np.ndarray
    rates: np.ndarray
    source: str


def profiles(folder: Path, n_genes: int, random: np.random.Generator) -> Profiles:
    """Return real cells' profiles, or made-up ones where ``folder`` has no real data."""
    files = [folder / "fly" / f"fca_{tissue}.h5ad" for tissue in TISSUES]
    return real(files, folder, n_genes, random) if all(file.exists() for file in files) else made_up(n_genes, random)


def real(files: list[Path], folder: Path, n_genes: int, random: np.random.Generator) -> Profiles:
    """Return the cells of the Fly Cell Atlas; the levels of genes outside their panels come from its tissue means."""
    sets = [ad.read_h5ad(file) for file in files]
    detected = pd.concat([pd.Series(each.X.getnnz(axis=0) / each.n_obs, each.var_names) for each in sets])
    levels = _levels(folder / "tables" / RATES)
    panel = detected.groupby(level=0).max().sort_values(ascending=False).index
    others = levels.max(axis=1).sort_values(ascending=False, kind="stable").index.difference(panel, sort=False)
    symbols = list(panel.append(others)[:n_genes])
    symbols = pd.Index(sorted(symbols + [f"unmeasured{number}" for number in range(n_genes - len(symbols))]))
    ids = pd.concat([_ids(folder), *(each.var["FBgn"].astype(str) for each in sets)])
    ids = ids[~ids.index.duplicated(keep="last")]
    counts, rates, obs = [], [], []
    for each, tissue in zip(sets, TISSUES, strict=True):
        place = symbols.get_indexer(each.var_names)
        counts.append(_in_columns(each.X, place, n_genes))
        level = levels[tissue].reindex(symbols).fillna(0).to_numpy() + FLOOR
        level[place[place >= 0]] = 0  # the panel's counts are those of real cells
        labels = each.obs["cell_type"].astype(str).to_numpy()
        rates.append(_varied(level, len(np.unique(labels)), random))
        obs.append(pd.DataFrame({"tissue": tissue, "cell_type": labels, "sex": each.obs["sex"].astype(str).to_numpy()}))
    cells = pd.concat(obs, ignore_index=True)
    together = sparse.vstack(counts, format="csr")
    n_detected = pd.Series(np.diff(together.indptr))
    usual = n_detected.groupby(cells["tissue"]).transform("mean")
    return Profiles(
        pd.DataFrame({"FBgn": ids.reindex(symbols).fillna("").to_numpy(dtype=str)}, index=symbols),
        together,
        (n_detected / np.maximum(usual, 1)).to_numpy(),
        cells,
        cells.groupby(["tissue", "cell_type"], sort=False).ngroup().to_numpy(),
        np.concatenate(rates),
        "cells of fca_head and fca_body (Fly Cell Atlas 2022), other genes after the atlas's tissue means",
    )


def made_up(n_genes: int, random: np.random.Generator) -> Profiles:
    """Return types with Zipf-like levels over the genes of the shipped model, and placeholders beyond."""
    import scflyformer as sf

    vocabulary = sf.models.load("fly").vocabulary
    order = np.argsort(-vocabulary.n_cells, kind="stable")[:n_genes]
    n_more = n_genes - len(order)
    symbols = pd.Series(vocabulary.symbols[order])
    known = symbols.mask(symbols.duplicated(), vocabulary.gene_ids[order])
    symbols = [*known, *(f"unmeasured{number}" for number in range(n_more))]
    level = 1 / (np.arange(n_genes) + 10.0)
    types = random.integers(0, MADE_UP_TYPES, MADE_UP_CELLS)
    depth = random.lognormal(0, SPREAD, MADE_UP_CELLS)
    cells = {"tissue": random.choice(TISSUES, MADE_UP_CELLS), "cell_type": np.char.add("type ", types.astype(str))}
    return Profiles(
        pd.DataFrame({"FBgn": [*vocabulary.gene_ids[order], *[""] * n_more]}, index=symbols),
        sparse.csr_matrix((MADE_UP_CELLS, n_genes), dtype=np.uint16),
        depth / depth.mean(),
        pd.DataFrame(cells | {"sex": random.choice(["female", "male"], MADE_UP_CELLS)}),
        types,
        _varied(level, MADE_UP_TYPES, random),
        "no real data: Zipf-like levels over the genes of model fly",
    )


def _levels(file: Path) -> pd.DataFrame:
    """Return counts per 10,000 of each gene in the two tissues, from a table of mean log1p; empty without one."""
    if not file.exists():
        return pd.DataFrame(columns=list(TISSUES), dtype=float)
    table = pd.read_csv(file, index_col=0, usecols=lambda name: name in ("", "Unnamed: 0", *TISSUES))
    table = np.expm1(table[table.index.notna()].fillna(0))
    return table[~table.index.duplicated()]


def _ids(folder: Path) -> pd.Series:
    """Return FBgn by symbol, or nothing where the table is missing."""
    file = folder / "tables" / "symbol_to_fbgn_merged.tsv"
    if not file.exists():
        return pd.Series(dtype=str)
    return pd.read_csv(file, sep="\t", index_col=0, keep_default_na=False)["FBgn"]


def _in_columns(counts: sparse.csr_matrix, place: np.ndarray, n_genes: int) -> sparse.csr_matrix:
    """Return counts with column ``j`` moved to ``place[j]``, -1 for none, in few bytes."""
    kept = sparse.csr_matrix(counts[:, place >= 0]) if (place < 0).any() else counts
    columns = place[place >= 0].astype(np.int32)[kept.indices]
    counts = np.minimum(kept.data, np.iinfo(np.uint16).max).astype(np.uint16)
    return sparse.csr_matrix((counts, columns, kept.indptr), shape=(kept.shape[0], n_genes))


def _varied(level: np.ndarray, n_types: int, random: np.random.Generator) -> np.ndarray:
    """Return levels of some types, each gene's scattered about the tissue's."""
    return (level * random.standard_exponential((n_types, len(level)), dtype=np.float32)).astype(np.float32)
