"""Label cells with scANVI, new libraries by architectural surgery; for an environment with scvi-tools.

``PYTHONPATH=. python benchmarks/annotation/scanvi_labels.py cells.h5ad out.npz`` is what `benchmarks.annotation` calls;
`lib.exchange` tells what the files hold.

The recipe is that of scvi-tools' tutorial on reference mapping (scArches; Lotfollahi et al. 2022): SCVI on the
reference with its libraries as batches (two layers, 30 latent variables, layer norm, covariates encoded, dropout 0.2),
SCANVI from it with 100 cells a label and step, then, where the query has libraries that the reference lacks,
``load_query_data`` and training on the query without labels, weights of the reference frozen. Every stage is bounded in
epochs, with early stopping for SCVI. A query of known libraries is predicted as it is.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from benchmarks.lib.exchange import answer

if TYPE_CHECKING:
    import argparse

    from benchmarks.lib.exchange import Cells

UNLABELLED = "(none)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scvi-epochs", type=int, help="bound on SCVI's epochs; scvi-tools' rule where not given")
    parser.add_argument("--scanvi-epochs", type=int, default=20)
    parser.add_argument("--query-epochs", type=int, default=100)
    parser.add_argument("--n-latent", type=int, default=30)


def label(cells: Cells, args: argparse.Namespace) -> dict[str, Any]:
    import scvi
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    scvi.settings.seed = args.seed
    quiet: dict[str, Any] = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "devices": 1}
    stages: dict[str, Any] = {}
    clock = time.perf_counter()

    def told(stage: str, model: Any) -> None:
        nonlocal clock
        now = time.perf_counter()
        stages[stage] = {"epochs": int(model.trainer.current_epoch), "seconds": round(now - clock, 1)}
        clock = now

    reference, query = cells.reference, cells.query
    query.obs["label"] = UNLABELLED
    scvi.model.SCVI.setup_anndata(reference, batch_key="library", labels_key="label")
    base = scvi.model.SCVI(
        reference, n_layers=2, n_latent=args.n_latent, use_layer_norm="both", use_batch_norm="none",
        encode_covariates=True, dropout_rate=0.2,
    )  # fmt: skip
    base.train(max_epochs=args.scvi_epochs, early_stopping=True, train_size=0.9, **quiet)
    told("scvi", base)
    model = scvi.model.SCANVI.from_scvi_model(base, unlabeled_category=UNLABELLED)
    model.train(max_epochs=args.scanvi_epochs, n_samples_per_label=100, **quiet)
    told("scanvi", model)
    if not set(query.obs["library"]) <= set(reference.obs["library"]):
        model = scvi.model.SCANVI.load_query_data(query, model)
        model.train(
            max_epochs=args.query_epochs, plan_kwargs={"weight_decay": 0.0}, check_val_every_n_epoch=10, **quiet
        )
        told("query", model)
    found = model.predict(query, soft=True)
    found = found.loc[:, [name for name in found.columns if name != UNLABELLED]]
    return {"probability": found.to_numpy(), "classes": found.columns.to_numpy(), "stages": stages}


if __name__ == "__main__":
    assert __doc__
    answer(label, __doc__, {"scvi-tools": "scvi.model", "torch": "torch", "anndata": "anndata"}, add_arguments)
