"""Train scVI on cells without their labels and write the latent means of others; for an environment with scvi-tools.

``python benchmarks/pretraining/scvi_latent.py cells.npz latent.npy --n-latent 10`` is what `benchmarks.pretraining`
calls. ``cells.npz`` holds counts as CSR (``data``, ``indices``, ``indptr``, ``shape``), ``train`` (a mask: the cells to
learn from), ``used`` (positions of the cells to encode, in the order of the result) and ``library``.

scvi-tools' defaults hold for everything else: one hidden layer of 128, zero-inflated negative binomial, its own rule
for the number of epochs, with early stopping on 10 % of the training cells. The encoder reads counts alone. With
``--by-library`` the decoder is told the library (``batch_key``), so that the latent space need not carry it; the
encoder is not (``encode_covariates=False``, the default), which is what makes cells of new libraries encodable:
whichever known library they are said to be of, their latent means are the same. With ``--joint`` it is
``scvi.external.JointEmbeddingSCVI`` of scvi-tools 1.5, whose latent space must agree between a cell and a thinned copy.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import warnings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells")
    parser.add_argument("out")
    parser.add_argument("--n-latent", type=int, default=10)
    parser.add_argument("--by-library", action="store_true")
    parser.add_argument("--joint", action="store_true")
    parser.add_argument("--max-epochs", type=int, help="scvi-tools' rule by the number of cells where not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    warnings.simplefilter("ignore")
    import anndata as ad
    import numpy as np
    import scvi
    import torch
    from scipy import sparse

    logging.disable(logging.WARNING)
    torch.set_num_threads(args.threads)
    scvi.settings.seed = args.seed
    begin = time.perf_counter()
    stored = np.load(args.cells)
    matrix = (stored["data"], stored["indices"], stored["indptr"])
    adata = ad.AnnData(sparse.csr_matrix(matrix, shape=tuple(stored["shape"])))
    adata.obs["library"] = stored["library"]
    train, used = adata[stored["train"]].copy(), adata[stored["used"]].copy()
    used.obs["library"] = train.obs["library"].iloc[0]
    # Whole cells without counts have no size; none is dropped, so that rows stay what they were.
    kind = scvi.external.JointEmbeddingSCVI if args.joint else scvi.model.SCVI
    kind.setup_anndata(train, batch_key="library" if args.by_library else None)
    model = kind(train, n_latent=args.n_latent)
    model.train(
        max_epochs=args.max_epochs, accelerator="cpu", devices=1, early_stopping=True, train_size=0.9,
        enable_progress_bar=False, logger=False, enable_model_summary=False,
    )  # fmt: skip
    latent = model.get_latent_representation(used)
    np.save(args.out, latent.astype(np.float32))
    print(json.dumps({
        "scvi-tools": scvi.__version__, "torch": torch.__version__, "n_latent": args.n_latent,
        "by_library": args.by_library, "joint": args.joint, "n_train": train.n_obs,
        "epochs": int(model.trainer.current_epoch),
        "seconds": round(time.perf_counter() - begin),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
