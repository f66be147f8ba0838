"""Label cells with CellTypist as its defaults have it; for an environment with celltypist.

``PYTHONPATH=. python benchmarks/annotation/celltypist_labels.py cells.h5ad out.npz`` is what `benchmarks.annotation`
calls; `lib.exchange` tells what the files hold.

CellTypist 1.7.1 passes on an argument that scikit-learn dropped: ``pip install celltypist "scikit-learn<1.8"``.

The recipe is the package's own: log1p of counts per 10,000, ``celltypist.train`` with its defaults (one logistic
regression a class, L2, C = 1, no selection of genes), ``celltypist.annotate`` without majority voting. It writes the
one-vs-rest sigmoids divided by their sum: the best class stays what it was, and calibration is judged on the quotient.
A cell is as strange as its highest sigmoid, which is the package's own confidence, is low.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.lib.exchange import answer

if TYPE_CHECKING:
    import argparse

    from benchmarks.lib.exchange import Cells


def label(cells: Cells, args: argparse.Namespace) -> dict[str, Any]:
    import celltypist
    import numpy as np
    import scanpy as sc

    celltypist.logger.set_level(40)
    for part in (cells.reference, cells.query):
        sc.pp.normalize_total(part, target_sum=1e4)
        sc.pp.log1p(part)
    # Cells without counts cannot sum to 10,000, which its check of the input asks for.
    full = np.asarray(cells.reference.X.sum(axis=1)).ravel() > 0
    reference = cells.reference[full].copy()
    model = celltypist.train(
        reference, labels=reference.obs["label"].to_numpy(dtype=str), n_jobs=args.threads, check_expression=False
    )
    found = celltypist.annotate(cells.query, model=model, majority_voting=False).probability_matrix
    probability = found.to_numpy(dtype=np.float64)
    total = probability.sum(axis=1, keepdims=True)
    share = np.divide(probability, total, out=np.full_like(probability, 1 / probability.shape[1]), where=total > 0)
    return {"probability": share, "classes": found.columns.to_numpy(), "novelty": 1 - probability.max(axis=1)}


if __name__ == "__main__":
    assert __doc__
    answer(label, __doc__, {"celltypist": "celltypist", "scikit-learn": "sklearn", "scanpy": "scanpy"})
