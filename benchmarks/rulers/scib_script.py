"""Run scib-metrics' Benchmarker, with its defaults, on all representations; for an environment with scib-metrics.

``python scib_script.py cells.h5ad out.json``. The expression from which it computes principal components to compare
with is log1p of counts per 10,000.
"""

from __future__ import annotations

import json
import sys
import warnings


def main(cells: str, out: str) -> None:
    """Read, run and write ``{representation: {metric: value}}``."""
    import anndata as ad
    import scanpy as sc
    from scib_metrics.benchmark import Benchmarker

    adata = ad.read_h5ad(cells)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    keys = list(adata.obsm)
    benchmarker = Benchmarker(
        adata, batch_key="library", label_key="label", embedding_obsm_keys=keys, progress_bar=False
    )
    benchmarker.benchmark()
    table = benchmarker.get_results(min_max_scale=False)
    found = {key: {name: float(value) for name, value in table.loc[key].items()} for key in keys}
    with open(out, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
