"""Representations of whole transcriptomes: each is fitted on counts of training cells and then takes any counts.

Every entry of `BASELINES` is called with training counts, CSR of shape (n_cells, n_genes), and returns a function from
counts to features, dense or CSR, one row a cell.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy import linalg, sparse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    Features = np.ndarray | sparse.csr_matrix
    Transform = Callable[[sparse.csr_matrix], Features]

N_GENES = 2000
LEAST_CELLS = 3
"""Genes in fewer training cells get no weight in the closed-form directions."""
N_SPLITS = 3
FEWEST, MOST = 30, 128
"""Bounds of the number of closed-form directions; between them it is a tenth of the number of training cells."""
THETA = 100.0
"""Overdispersion that scanpy assumes for Pearson residuals."""


def log_expression(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return log1p of counts per 10,000."""
    totals = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    scaled = sparse.diags(1e4 / np.maximum(totals, 1)) @ counts
    return sparse.csr_matrix(scaled.log1p())


def halves(counts: sparse.csr_matrix, random: np.random.Generator) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Deal every count of a cell to one of two halves with equal chance."""
    whole = counts.data.astype(np.int64)
    first = random.binomial(whole, 0.5)
    # Arrays of their own: scipy sorts indices in place, and so would mix up the other half.
    return tuple(
        sparse.csr_matrix((part.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape, copy=True)
        for part in (first, whole - first)
    )  # type: ignore[return-value]


def all_genes(train: sparse.csr_matrix) -> Transform:
    """Return log1p of counts per 10,000 of every gene; nothing is fitted."""
    return log_expression


def _components(x: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.decomposition import PCA

    return PCA(min(n, min(x.shape) - 1), svd_solver="full").fit(x).transform


def chosen(x: sparse.csr_matrix, flavor: str) -> np.ndarray:
    """Return positions of the genes that scanpy finds most variable."""
    import anndata as ad
    import scanpy as sc

    cells = ad.AnnData(x)
    n = min(N_GENES, x.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if flavor == "seurat":
            sc.pp.highly_variable_genes(cells, n_top_genes=n, flavor=flavor)
        else:
            sc.experimental.pp.highly_variable_genes(cells, n_top_genes=n, flavor=flavor, theta=THETA)
    return np.flatnonzero(cells.var["highly_variable"].to_numpy())


def hvg_components(train: sparse.csr_matrix, n: int) -> Transform:
    """Fit principal components of scanpy's 2,000 highly variable genes, log1p of counts per 10,000, not scaled."""
    x = log_expression(train)
    genes = chosen(x, "seurat")
    project = _components(x[:, genes].toarray(), n)
    return lambda counts: project(log_expression(counts)[:, genes].toarray())


def pearson_residuals(counts: np.ndarray, shares: np.ndarray, bound: float) -> np.ndarray:
    """Return clipped analytic Pearson residuals; ``shares`` of the genes and ``bound`` come from training cells."""
    expected = np.outer(counts.sum(axis=1), shares)
    spread = np.sqrt(expected + expected**2 / THETA)
    residuals = np.divide(counts - expected, spread, out=np.zeros_like(expected), where=spread > 0)
    return residuals.clip(-bound, bound)


def pearson_components(train: sparse.csr_matrix, n: int) -> Transform:
    """Fit principal components of Pearson residuals of the 2,000 genes that scanpy chooses by them."""
    detected = np.flatnonzero(train.getnnz(axis=0))
    genes = detected[chosen(train[:, detected].astype(np.float32), "pearson_residuals")]
    dense = train[:, genes].toarray().astype(float)
    shares, bound = dense.sum(axis=0) / dense.sum(), np.sqrt(len(dense))
    project = _components(pearson_residuals(dense, shares, bound), n)
    return lambda counts: project(pearson_residuals(counts[:, genes].toarray().astype(float), shares, bound))


def directions(train: sparse.csr_matrix, seed: int = 0) -> Transform:
    """Fit closed-form directions in which two halves of the counts of a training cell agree.

    The 2,000 genes whose halves correlate most are weighted by the root of that correlation, not standardised. The
    directions are eigenvectors of the symmetrised cross-covariance of the halves, averaged over three splits. Each is
    multiplied by its share of signal: its eigenvalue over the variance of whole cells along it, at most 1.
    """
    random = np.random.default_rng(seed)
    splits = [[log_expression(part) for part in halves(train, random)] for _ in range(N_SPLITS)]
    reliability = np.mean([_correlation(*split) for split in splits], axis=0)
    reliability[train.getnnz(axis=0) < LEAST_CELLS] = 0
    genes = np.sort(np.argsort(-reliability, kind="stable")[:N_GENES])
    weights = np.sqrt(np.maximum(reliability[genes], 0))

    cross = np.zeros((len(genes), len(genes)))
    for split in splits:
        a, b = (part[:, genes].toarray() * weights for part in split)
        product = (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)) / len(a)
        cross += (product + product.T) / 2 / N_SPLITS
    n = min(max(FEWEST, min(MOST, train.shape[0] // 10)), len(genes))
    signal, vectors = linalg.eigh(cross, subset_by_index=[len(genes) - n, len(genes) - 1])
    signal, vectors = signal[::-1], vectors[:, ::-1]

    whole = log_expression(train)[:, genes].toarray() * weights
    centre = whole.mean(axis=0)
    variance = ((whole - centre) @ vectors).var(axis=0)
    share = np.divide(signal, variance, out=np.zeros_like(signal), where=variance > 0).clip(0, 1)
    scaled = vectors * share
    return lambda counts: (log_expression(counts)[:, genes].toarray() * weights - centre) @ scaled


def _correlation(a: sparse.csr_matrix, b: sparse.csr_matrix) -> np.ndarray:
    """Return the correlation over cells of each column of two matrices; 0 where one is constant."""
    mean_a, mean_b = (np.asarray(x.mean(axis=0)).ravel() for x in (a, b))
    both = np.asarray(a.multiply(b).mean(axis=0)).ravel() - mean_a * mean_b
    squares = [np.asarray(x.multiply(x).mean(axis=0)).ravel() - m**2 for x, m in ((a, mean_a), (b, mean_b))]
    spread = np.sqrt(np.maximum(squares[0] * squares[1], 0))
    return np.divide(both, spread, out=np.zeros_like(both), where=spread > 1e-12)


BASELINES: dict[str, Callable[[sparse.csr_matrix], Transform]] = {
    "own directions": directions,
    "HVG + PCA-30": lambda train: hvg_components(train, 30),
    "HVG + PCA-50": lambda train: hvg_components(train, 50),
    "Pearson residuals + PCA-50": lambda train: pearson_components(train, 50),
    "all genes": all_genes,
}


def embedding(model: str | Path, var: pd.DataFrame, gene_key: str = "FBgn") -> Transform:
    """Return what `tl.embed` of a model, which learns nothing from the cells at hand, makes of counts."""
    import anndata as ad

    import scflyformer as sf

    def transform(counts: sparse.csr_matrix) -> np.ndarray:
        cells = ad.AnnData(counts.astype(np.float32), var=var[[gene_key]].copy())
        sf.tl.embed(cells, model=model, gene_key=gene_key)
        return cells.obsm["X_scflyformer"]

    return transform


def adapted_embedding(
    model: str | Path, var: pd.DataFrame, gene_key: str = "FBgn"
) -> Callable[[sparse.csr_matrix], Transform]:
    """Return what adapts a model to training cells, and then embeds with it."""
    import shutil
    import tempfile
    import weakref
    from pathlib import Path

    import anndata as ad

    import scflyformer as sf

    def fit(train: sparse.csr_matrix) -> Transform:
        folder = Path(tempfile.mkdtemp())
        cells = ad.AnnData(train.astype(np.float32), var=var[[gene_key]].copy())
        sf.tl.adapt(cells, model=model, out=folder / "adapted", gene_key=gene_key)
        transform = embedding(folder / "adapted", var, gene_key)
        weakref.finalize(transform, shutil.rmtree, folder, ignore_errors=True)
        return transform

    return fit
