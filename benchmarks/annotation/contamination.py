"""Whether cells are recognised that a model or a classifier was trained on, and others are not.

``python -m benchmarks.annotation.contamination`` asks :func:`scflyformer.models.contamination` about the training
libraries of each real data set of ``fly`` and about its held-out libraries, and the same of the classifiers and the
clock that ship. Each set is read as it is, by FlyBase ids, and as log1p of counts per 10,000, by symbols, genes in
another order. It says how many cells have the fingerprint of another cell before it is cut, and how long it takes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import scanpy as sc

import scflyformer as sf
from scflyformer.data._chunks import expressed_genes
from scflyformer.data._gene_names import match_genes
from scflyformer.models._manifest import Manifest
from scflyformer.tokens._fingerprints import fingerprints

from ..lib.command import command, markdown_table, new_parser
from ..lib.splits import EXCLUDE, WHOLE_EXCLUDE

SETS = (
    "fly/fca_head", "fly/fca_body", "fly/baker_brain", "fly/davie_brain_aging", "fly_whole/hung_midgut_1923",
    "fly_whole/larval_cns_1406", "fly_whole/antenna_orn", "fly/bageritz_wingdisc_lib1",
)  # fmt: skip
STRANGE = "fly/fca_gut_180cells"
"""A set of which nothing was trained on."""
READOUTS = {
    "fly-head": "fly/fca_head", "fly-body": "fly/fca_body", "fly-brain": "fly/davie_brain_aging",
    "fly-brain-clock": "fly/davie_brain_aging",
}  # fmt: skip
TIMED = 20_000


def held_out(cells: ad.AnnData) -> np.ndarray:
    """Return which cells of a set were kept from pretraining."""
    kept = {"batch": EXCLUDE["batch"] + WHOLE_EXCLUDE, "genotype": EXCLUDE["genotype"]}
    columns = [cells.obs[key].astype(str).isin(values) for key, values in kept.items() if key in cells.obs]
    return np.any(columns, axis=0)


def otherwise(cells: ad.AnnData) -> ad.AnnData:
    """Return the same cells as log1p of counts per 10,000, named by symbols alone, genes in another order."""
    order = np.random.default_rng(0).permutation(cells.n_vars)
    other = ad.AnnData(cells.X[:, order].astype(np.float32), var=cells.var.iloc[order][[]])
    sc.pp.normalize_total(other, target_sum=1e4)
    sc.pp.log1p(other)
    return other


def found(cells: ad.AnnData, model: str, name: str, **reading: Any) -> tuple[str, str, str]:
    """Return cells compared, the share of them that matches, and the verdict."""
    table = sf.models.contamination(cells, model=model, **reading)
    row = table[(table["set"] == name) & (table["model"] == model)].iloc[0]
    share = f"{row['n_matched'] / row['n_compared']:.2%}" if row["n_compared"] else "–"
    return f"{row['n_compared']:,}", share, row["verdict"]


def lines(cells: ad.AnnData, model: str, name: str, what: str) -> list[str]:
    """Return a line of the table: as it is, and read otherwise."""
    here, there = found(cells, model, name, gene_key="FBgn"), found(otherwise(cells), model, name)
    return [model, name, what, f"{cells.n_obs:,}", here[0], here[1], there[1], here[2]]


def alike(cells: ad.AnnData, name: str) -> tuple[int, int]:
    """Return the cells of a set that have a fingerprint, and those that have it in common, all 64 bits of it."""
    model = sf.models.load("fly")
    manifest = Manifest.of_model(model)
    (known,) = (each for each in manifest.sets if each.name == name)
    index = match_genes(cells, model.vocabulary, gene_key="FBgn").index
    sums = []
    for indptr, genes in expressed_genes(cells, layer=None, index=index, n_genes=model.vocabulary.n_genes):
        values, counts = fingerprints(indptr, genes, manifest.keys(model.vocabulary), [known.genes])
        sums.append(values[counts[:, 0], 0])
    _, number = np.unique(np.concatenate(sums), return_counts=True)
    return int(number.sum()), int(number[number > 1].sum())


def seconds(cells: ad.AnnData) -> str:
    """Return how long contamination and embedding by the profile code take, in turns, and the ratio of the medians."""
    took: dict[str, list[float]] = {"contamination": [], "embed": []}
    for _ in range(5):
        start = time.perf_counter()
        sf.models.contamination(cells, model="fly", gene_key="FBgn")
        middle = time.perf_counter()
        sf.tl.embed(cells, model="fly", gene_key="FBgn", pooling="code")
        took["contamination"].append(middle - start)
        took["embed"].append(time.perf_counter() - middle)
    median = {name: float(np.median(each)) for name, each in took.items()}
    return (
        f"{cells.n_obs:,} cells: contamination {median['contamination']:.2f} s, embed(pooling='code') "
        f"{median['embed']:.2f} s, ratio {median['contamination'] / median['embed']:.2f} (medians of 5 turns)"
    )


def main() -> None:
    """Read arguments and print."""
    args = new_parser(__doc__ or "").parse_args()
    table, shared = [], {}
    for file in (*SETS, STRANGE):
        cells, name = ad.read_h5ad(args.data / f"{file}.h5ad"), Path(file).name
        if file == STRANGE:
            table += [lines(cells, "fly", each, "gut, another set") for each in ("fca_body", "hung_midgut_1923")]
            continue
        sealed = held_out(cells)
        shared[name] = alike(cells, name)
        table.append(lines(cells[~sealed].copy(), "fly", name, "training"))
        if sealed.any():
            table.append(lines(cells[sealed].copy(), "fly", name, "held out"))
        for readout in (readout for readout, of in READOUTS.items() if of == file):
            named = ~cells.obs["cell_type"].astype(str).str.fullmatch(r"\d+").to_numpy()
            if readout == "fly-brain-clock":
                table.append(lines(cells, readout, name, "training"))
            else:
                table.append(lines(cells[~sealed & named].copy(), readout, name, "training"))
                table.append(lines(cells[sealed & named].copy(), readout, name, "held out"))
    head = ("model", "set", "libraries", "cells", "compared", "match", "match as log1p, by symbols", "verdict")
    n_cells, n_shared = (sum(pair[at] for pair in shared.values()) for at in (0, 1))
    print(f"`{command()}`\n\n{markdown_table(head, table)}\n")
    print(
        f"{n_shared} of {n_cells:,} cells with a fingerprint have that of another cell of their set, before it is cut."
    )
    print(seconds(ad.read_h5ad(args.data / "fly" / "davie_brain_aging.h5ad")[:TIMED].copy()))


if __name__ == "__main__":
    main()
