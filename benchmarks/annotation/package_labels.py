"""Label cells by the package or by one of its baselines; a process of its own, so that its memory can be told.

``python -m benchmarks.annotation.package_labels cells.h5ad out.npz --method probe --model fly`` is what
`benchmarks.annotation` calls; `lib.exchange` tells what the files hold.

``probe`` and ``finetune`` are `tl.annotate`. The others are tuned and calibrated as the probe is: over four folds of
whole reference libraries (of cells where the split is by cell) the number of each family is chosen inside the training
folds, one temperature is fitted to all held-out logits, and the classifier is fitted on all reference cells.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

import scflyformer as sf
from scflyformer.data import _adata, _features
from scflyformer.stats import _families
from scflyformer.stats._classification import fit_temperature, softmax
from scflyformer.stats._cross import cross_fit

from ..lib.exchange import answer
from ..lib.splits import N_INNER

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

    from ..lib.exchange import Cells

NOVELTY_KEY = "annotation_novelty"
"""Column of `obs` in which `tl.annotate` tells how strange a cell is; higher is stranger."""
OURS = ("probe", "finetune")
BASELINES = {
    "l1": _families.SPARSE_LOGISTIC,
    "pca": _families.PCA_LOGISTIC,
    "knn": _families.NEIGHBOURS,
    "majority": _families.MAJORITY,
    "embedding": _families.LOGISTIC,
}
"""Families of the baselines: on expression, but for the last one, which reads the embedding of ``--model``."""


def label(cells: Cells, args: argparse.Namespace) -> dict[str, Any]:
    """Return probabilities of the query's cells, by the method named."""
    import scanpy as sc

    sc.settings.verbosity = 0
    if args.method in OURS:
        return annotated(cells, args.method, args.model, seed=args.seed, dtype=args.dtype)
    return tuned(cells, args.method, args.model, seed=args.seed, dtype=args.dtype)


def annotated(cells: Cells, method: Any, model: str, *, seed: int = 0, dtype: Any = "auto") -> dict[str, Any]:
    """Return what `tl.annotate` says."""
    query = cells.query
    with sf.settings.override(dtype=dtype):
        sf.tl.annotate(
            query, reference=cells.reference, label_key="label", sample_key=None if cells.by_cell else "library",
            model=model, gene_key="gene", baselines="none", min_score=0, n_splits=N_INNER, seed=seed, method=method,
        )  # fmt: skip
    result = {"probability": query.obsm["annotation_proba"], "classes": query.uns["annotation"]["classes"]}
    if NOVELTY_KEY in query.obs:
        result["novelty"] = query.obs[NOVELTY_KEY].to_numpy(dtype=np.float64)
    return result


def tuned(cells: Cells, method: str, model: str | None = None, *, seed: int = 0, dtype: Any = "auto") -> dict[str, Any]:
    """Return what a baseline says."""
    reference, family = cells.reference, BASELINES[method]
    classes, y = np.unique(reference.obs["label"].to_numpy(dtype=str), return_inverse=True)
    names, libraries = reference.obs_names.to_numpy(), None if cells.by_cell else reference.obs["library"].to_numpy()
    folds = _features.folds(names, libraries, labels=y, n_splits=N_INNER, seed=seed)
    x, x_query = (features(part, model if method == "embedding" else None, dtype) for part in (reference, cells.query))
    held_out = cross_fit(family, x, y, folds, n_classes=len(classes), samples=libraries)
    head = family.fit(x, y, n_classes=len(classes), parameter=held_out.parameter)
    probability = softmax(head(x_query), fit_temperature(held_out.logits, y))
    return {"probability": probability, "classes": classes, "parameter": float(held_out.parameter)}


def features(cells: AnnData, model: str | None, dtype: Any) -> Any:
    """Return log1p of counts per 10,000, or the embedding of ``model``, read off as the probe does."""
    if model is None:
        return _adata.log_expression(cells)[0]
    pooling = sf.models.load(model).pooling
    with sf.settings.override(dtype=dtype):
        sf.tl.embed(cells, model=model, gene_key="gene", pooling=pooling)
    return cells.obsm["X_scflyformer"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", choices=[*OURS, *BASELINES], required=True)
    parser.add_argument("--dtype", default="auto", help="number type of the network (default: %(default)s)")
    parser.add_argument("--model", help="name or folder, for the methods that read one")


if __name__ == "__main__":
    assert __doc__
    modules = {"scflyformer": "scflyformer.tl._annotate", "scanpy": "scanpy", "scikit-learn": "sklearn.linear_model"}
    if "--model" in sys.argv:
        modules |= {"torch": "torch", "transformers": "scflyformer.network._infer"}
    answer(label, __doc__, modules, add_arguments)
