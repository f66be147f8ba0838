"""CellTypist, learnt from the cells that fly-atlas has learnt from which are drawn; for an environment with celltypist.

``PYTHONPATH=. python benchmarks/annotation/celltypist_drawn.py --drawn drawn --out found`` writes the probabilities of
each term for the gut nuclei and the olfactory neurons, one file a set, which ``python -m benchmarks.annotation.shipped
--celltypist found`` scores. 15 cells of a cluster, on the 2,000 most variable of the genes that all sets name, by
stochastic gradient descent (``use_SGD``): its default solver, on all genes and 242 terms, did not end in half an hour.
CellTypist 1.7.1 needs ``pip install celltypist "scikit-learn<1.8"``.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anndata as ad
import scanpy as sc

from benchmarks.annotation.terms import OTHER
from benchmarks.lib.splits import MOST_DRAWN, some_of_each

N_GENES = 2000


def by_id(cells: ad.AnnData) -> ad.AnnData:
    """Return cells whose genes are named by FlyBase ids, each once."""
    ids = cells.var["FBgn"].astype(str)
    cells = cells[:, ~ids.duplicated() & ids.str.startswith("FBgn")].copy()
    cells.var = cells.var[[]].set_axis(cells.var["FBgn"].astype(str).to_numpy())
    return cells


def logarithms(cells: ad.AnnData) -> ad.AnnData:
    """Return log1p of counts per 10,000."""
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    return cells


def reference(folder: Path) -> ad.AnnData:
    """Return some drawn cells of each cluster; genes that an atlas does not list are 0."""
    parts = []
    for file in sorted(folder.glob("*.h5ad")):
        parts.append(some_of_each(by_id(ad.read_h5ad(file)), ["cluster"], MOST_DRAWN))
    return ad.concat(parts, join="outer", fill_value=0, index_unique="-")


def main() -> None:
    """Read arguments, learn, and write probabilities."""
    import celltypist

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data")))
    parser.add_argument("--drawn", type=Path, required=True, help="folder of cells that tools.draw_cells wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    learnt = reference(args.drawn)
    asked = {name: by_id(ad.read_h5ad(args.data / f"{file}.h5ad")) for name, file in OTHER.items()}
    genes = learnt.var_names
    for cells in asked.values():
        genes = genes.intersection(cells.var_names)
    learnt = logarithms(learnt[:, genes].copy())
    sc.pp.highly_variable_genes(learnt, n_top_genes=N_GENES)
    variable = learnt.var_names[learnt.var["highly_variable"]]
    terms = learnt.obs["cell_type"].astype(str).str.replace("_", ":", n=1).to_numpy(dtype=str)
    model = celltypist.train(learnt[:, variable].copy(), labels=terms, use_SGD=True, n_jobs=1, check_expression=False)
    for name, cells in asked.items():
        query = logarithms(cells[:, genes].copy())[:, variable].copy()
        found = celltypist.annotate(query, model=model, majority_voting=False).probability_matrix
        found.set_axis(cells.obs_names).to_csv(args.out / f"{name}.csv.gz")


if __name__ == "__main__":
    main()
