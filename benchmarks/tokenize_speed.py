"""Speed of `pp.tokenize` beside a bare NumPy rank loop over CSR rows, in turns within one run.

The loop does nothing but ``argsort(-counts / median)`` row by row; `pp.tokenize` opens the model, resolves gene names,
checks values, ranks, and writes its keys back. Prints cells per second of both and their ratio.

    python benchmarks/tokenize_speed.py --data path/to/davie_brain_aging.h5ad
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from scipy import sparse

import scflyformer as sf
from scflyformer.genes._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable


def bare_loop(matrix: sparse.csr_matrix, medians: np.ndarray) -> list[np.ndarray]:
    """Rank each row's columns by count over median and do nothing else."""
    out = []
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        columns = matrix.indices[start:stop]
        out.append(columns[np.argsort(-matrix.data[start:stop] / medians[columns])])
    return out


def gene_medians(matrix: sparse.csr_matrix) -> np.ndarray:
    """Non-zero median of each column, 1 where a column is empty."""
    columns = sparse.csc_matrix(matrix)
    parts = np.split(columns.data, columns.indptr[1:-1])
    return np.array([np.median(part) if len(part) else 1 for part in parts], dtype=np.float32)


def make_model(folder: Path, adata: ad.AnnData, medians: np.ndarray, max_len: int) -> Path:
    """Write a model with random weights that knows the genes of the data; tokenizing never loads the weights."""
    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    ids = adata.var["FBgn"] if "FBgn" in adata.var else adata.var_names
    first = ~ids.duplicated()
    vocabulary = Vocabulary(
        gene_ids=np.asarray(ids[first], dtype=str),
        symbols=np.asarray(adata.var_names[first], dtype=str),
        medians=medians[first],
        n_cells=np.ones(first.sum(), dtype=np.int64),
        synonyms=np.full(first.sum(), ""),
    )
    config = make_config(
        vocabulary.n_tokens,
        NetworkShape(
            objective="cell",
            hidden_size=8,
            n_layers=1,
            n_heads=1,
            feed_forward=8,
            max_len=max_len,
            dropout=0.0,
        ),
    )
    path = folder / "throwaway"
    save_folder(path, CellBert(config), vocabulary, metrics={}, provenance={}, card="# throwaway\n")
    return path


def cells_per_second(work: Callable[[], object], n_cells: int) -> float:
    begin = time.perf_counter()
    work()
    return n_cells / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data"))
    default = folder / "fly" / "davie_brain_aging.h5ad"
    parser.add_argument("--data", type=Path, default=default, help="h5ad file of counts (default: %(default)s)")
    parser.add_argument("--model", help="a model's name or folder; by default one that knows all genes of the data")
    parser.add_argument("--max-len", type=int, default=2048, help="length of the default model")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    adata = ad.read_h5ad(options.data)
    adata.X = sparse.csr_matrix(adata.X)
    medians = gene_medians(adata.X)
    print(f"{options.data.name}: {adata.n_obs} cells × {adata.n_vars} genes, {adata.X.nnz / adata.n_obs:.0f} a cell")
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or make_model(Path(folder), adata, medians, options.max_len)

        def tokenize() -> None:
            sf.pp.tokenize(adata, model=model)

        tokenize()  # imports are not what is measured
        ratios = []
        print(f"{'':8}{'bare loop':>14}{'pp.tokenize':>14}{'ratio':>8}   (cells/s)")
        for repeat in range(options.repeats):
            loop = cells_per_second(lambda: bare_loop(adata.X, medians), adata.n_obs)
            ours = cells_per_second(tokenize, adata.n_obs)
            ratios.append(ours / loop)
            print(f"{repeat + 1:<8}{loop:>14,.0f}{ours:>14,.0f}{ratios[-1]:>8.2f}")
    print(f"ratio: median {np.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}; at least 0.50 is asked")


if __name__ == "__main__":
    main()
