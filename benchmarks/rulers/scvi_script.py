"""Integrate cells with Harmony, scVI, scANVI and JointEmbeddingSCVI; for an environment with scvi-tools and harmonypy.

``python scvi_script.py cells.h5ad out.npz --epochs 100``. All methods see the library of each cell, scANVI also all
labels. PCA is scanpy's, 50 components of log1p of counts per 10,000 of the 2,000 most variable genes; Harmony corrects
these, and each array in `obsm`; the models take the counts of these genes. They have two layers, 30 latent variables
and a negative binomial, as in scvi-tools' tutorial on integration, are bounded in epochs and stop early; scANVI goes on
from scVI for 20 epochs.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings

N_GENES, N_COMPONENTS, SCANVI_EPOCHS = 2000, 50, 20
SHAPE = {"n_layers": 2, "n_latent": 30, "gene_likelihood": "nb"}
QUIET = {
    "enable_progress_bar": False,
    "logger": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "devices": 1,
}


def main() -> None:
    """Read, integrate, write an array for each method, and the epochs that it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cells")
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=100)
    args = parser.parse_args()

    import anndata as ad
    import harmonypy
    import numpy as np
    import scanpy as sc
    import scvi
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    scvi.settings.seed = 0
    cells = ad.read_h5ad(args.cells)
    cells.layers["counts"] = cells.X.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.highly_variable_genes(cells, n_top_genes=min(N_GENES, cells.n_vars))
    cells = cells[:, cells.var["highly_variable"]].copy()
    sc.pp.pca(cells, n_comps=N_COMPONENTS)
    arrays = {"PCA-50": cells.obsm["X_pca"]}
    for name in cells.obsm:
        harmony = harmonypy.run_harmony(cells.obsm[name], cells.obs, "library", verbose=False)
        corrected = np.asarray(harmony.Z_corr)
        arrays["Harmony" if name == "X_pca" else f"{name} + Harmony"] = (
            corrected if len(corrected) == cells.n_obs else corrected.T
        )

    epochs = {}
    for name, kind in {"scVI": scvi.model.SCVI, "JointEmbeddingSCVI": scvi.external.JointEmbeddingSCVI}.items():
        scvi.settings.seed = 0
        kind.setup_anndata(cells, layer="counts", batch_key="library")
        model = kind(cells, **SHAPE)
        model.train(max_epochs=args.epochs, early_stopping=True, **QUIET)
        arrays[name], epochs[name] = model.get_latent_representation(), int(model.trainer.current_epoch)
        if name == "scVI":
            model = scvi.model.SCANVI.from_scvi_model(model, labels_key="label", unlabeled_category="(none)")
            model.train(max_epochs=SCANVI_EPOCHS, n_samples_per_label=100, **QUIET)
            arrays["scANVI"], epochs["scANVI"] = model.get_latent_representation(), int(model.trainer.current_epoch)
    np.savez(
        args.out, **{name: np.asarray(value, np.float32) for name, value in arrays.items()}, epochs=json.dumps(epochs)
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
