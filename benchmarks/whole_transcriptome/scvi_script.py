"""Fit scVI to counts, or encode counts with it; for an environment with scvi-tools.

``python benchmarks/whole_transcriptome/scvi_script.py fit counts.npz folder`` and ``… encode counts.npz folder
latent.npy`` are what `.scvi` calls. ``counts.npz`` is a sparse matrix as scipy saves it, cells × genes, the same genes
in both.

Thirty latent dimensions and no batch key, since new libraries are asked. scvi-tools' defaults hold for everything else:
one hidden layer of 128, zero-inflated negative binomial, and 400 epochs (its rule for up to 20,000 cells) on 90 % of
the cells, without early stopping.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

N_LATENT = 30


def fit(counts: Path, folder: Path, seed: int) -> None:
    """Train on the cells that have counts, and save the model."""
    import anndata as ad
    import numpy as np
    import scvi
    from scipy import sparse

    scvi.settings.seed = seed
    matrix = sparse.csr_matrix(sparse.load_npz(counts))
    cells = ad.AnnData(matrix[np.flatnonzero(matrix.sum(axis=1))])
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_latent=N_LATENT)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    model.train(accelerator="cpu", devices=1, **quiet)
    model.save(str(folder), overwrite=True)


def encode(counts: Path, folder: Path, out: Path) -> None:
    """Write the latent means of cells, which the encoder computes from their counts alone."""
    import anndata as ad
    import numpy as np
    import scvi
    from scipy import sparse

    cells = ad.AnnData(sparse.csr_matrix(sparse.load_npz(counts)))
    model = scvi.model.SCVI.load(str(folder), adata=cells, accelerator="cpu")
    np.save(out, model.get_latent_representation().astype(np.float32))


def main() -> None:
    """Read arguments and do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fit", "encode"))
    parser.add_argument("counts", type=Path)
    parser.add_argument("folder", type=Path, help="model, to be made or there")
    parser.add_argument("out", type=Path, nargs="?", help="with encode: file of latent means to write")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    import torch

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if args.what == "fit":
        fit(args.counts, args.folder, args.seed)
    else:
        encode(args.counts, args.folder, args.out)


if __name__ == "__main__":
    main()
