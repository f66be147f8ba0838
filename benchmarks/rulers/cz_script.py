"""Run four tasks of cz-benchmarks on representations of cells; for an environment with cz-benchmarks alone.

``python cz_script.py cells.h5ad out.json``: clustering, embedding, batch integration and label prediction, each with
its defaults, on every entry of `obsm` and on the baselines that cz-benchmarks makes of the counts: 50 principal
components of 2,000 highly variable genes, or, for label prediction, the counts themselves, too.
"""

from __future__ import annotations

import json
import sys
import warnings

PCA, COUNTS = "PCA-50", "counts"


def main(cells: str, out: str) -> None:
    """Read, run and write ``{representation: {task: [[metric, classifier or "", value], …]}}``."""
    import anndata as ad
    import numpy as np
    from czbenchmarks.tasks import (
        BatchIntegrationTask,
        BatchIntegrationTaskInput,
        ClusteringTask,
        ClusteringTaskInput,
        EmbeddingTask,
        EmbeddingTaskInput,
        MetadataLabelPredictionTask,
        MetadataLabelPredictionTaskInput,
    )
    from czbenchmarks.tasks.task import PCABaselineInput

    adata = ad.read_h5ad(cells)
    labels, libraries = adata.obs["label"], adata.obs["library"]
    prediction = MetadataLabelPredictionTask()
    tasks = {
        "clustering": (ClusteringTask(), ClusteringTaskInput(obs=adata.obs, input_labels=labels)),
        "embedding": (EmbeddingTask(), EmbeddingTaskInput(input_labels=labels)),
        "integration": (BatchIntegrationTask(), BatchIntegrationTaskInput(labels=labels, batch_labels=libraries)),
        "label prediction": (prediction, MetadataLabelPredictionTaskInput(labels=labels)),
    }
    columns = {name: np.asarray(adata.obsm[name]) for name in adata.obsm}
    # With fewer genes than 2,000, cz-benchmarks and scanpy take all of them.
    columns[PCA] = ClusteringTask().compute_baseline(adata.X, PCABaselineInput(n_top_genes=2000, n_pcs=50))
    columns[COUNTS] = prediction.compute_baseline(adata.X)
    found = {}
    for column, values in columns.items():
        asked = ["label prediction"] if column == COUNTS else list(tasks)
        found[column] = {}
        for name in asked:
            task, given = tasks[name]
            results = task.run(values, given)
            found[column][name] = [
                [result.metric_type.value, (result.params or {}).get("classifier", ""), float(result.value)]
                for result in results
            ]
    with open(out, "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
