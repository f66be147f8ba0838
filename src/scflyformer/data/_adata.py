"""The one door between AnnData or MuData and the workshops: what goes in and what comes out passes here."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer.data import _scale_report
from scflyformer.data._chunks import CountChunk, GeneMap, map_counts
from scflyformer.data._columns import as_text, cell_names, column, labels_of, obs_column, obs_text, plain_names, text_of
from scflyformer.data._gene_names import (
    all_gene_names,
    gene_names,
    match_genes,
    model_reference,
    synonym_table,
    unique_gene_names,
)
from scflyformer.data._matrix import is_lazy, missing_key
from scflyformer.data._ranked import map_token_rows, token_rows
from scflyformer.data._reading import AS_IT_IS, Reading
from scflyformer.data._write import check_key_added, run_params, write

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.models._model import Model

__all__ = [
    "all_gene_names",
    "as_text",
    "cell_names",
    "check_key_added",
    "column",
    "gene_names",
    "is_lazy",
    "labels_of",
    "log_expression",
    "map_token_rows",
    "match_genes",
    "obs_column",
    "obs_text",
    "open_data",
    "plain_names",
    "run_params",
    "start",
    "synonym_table",
    "text_of",
    "token_rows",
    "unique_gene_names",
    "write",
]

TARGET_SUM = 1e4
"""What `log_expression` scales each cell to before the logarithm."""


def open_data(data: AnnData | MuData, *, mod: str | None = None) -> AnnData:
    """Return the AnnData to work on: the object itself, or modality ``mod`` of a MuData.

    An object of another kind, a missing modality, and an object without cells or genes are errors.
    """
    mudata = sys.modules.get("mudata")
    if mudata is not None and isinstance(data, mudata.MuData):
        names = list(data.mod)
        if mod is None:
            raise ValueError(f"A MuData was given; name the modality with counts by mod=, one of {names}.")
        if mod not in data.mod:
            raise KeyError(missing_key(mod, names, what="mod", place="mod"))
        adata = data.mod[mod]
    else:
        from anndata import AnnData

        if not isinstance(data, AnnData):
            kind = f"{type(data).__module__}.{type(data).__name__}"
            raise TypeError(f"Expected an AnnData or a MuData, got a {kind}. Read files with anndata.read_h5ad first.")
        if mod is not None:
            raise ValueError(f"mod={mod!r} names a modality of a MuData, but an AnnData was given; leave mod out.")
        adata = data
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(f"The object is empty: {adata.n_obs} cells × {adata.n_vars} genes. Check the filters before.")
    return adata


def start(data: AnnData | MuData, *, mod: str | None = None, copy: bool = False) -> tuple[Any, AnnData]:
    """Open data that a function is going to write to.

    The first is the object to return where ``copy`` is true: a copy of what was given, in memory where it was backed.
    The second is the AnnData in it to read from and write to.
    """
    adata = open_data(data, mod=mod)
    if not copy:
        if adata.isbacked and adata.is_view:
            raise ValueError(
                "The object is a view of a file on disk (backed), which cannot take results. "
                "Pass copy=True, or take it into memory with .to_memory()."
            )
        return data, adata
    if adata is data:
        copied = adata.to_memory() if adata.isbacked else adata.copy()
        return copied, copied
    if data.isbacked:
        raise ValueError("copy=True needs a MuData in memory; this one is backed by a file. Read it without backed.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # mudata announces a change that makes no difference here
        copied = data.copy()
    return copied, copied.mod[mod]


def log_expression(
    adata: AnnData,
    reading: Reading = AS_IT_IS,
    *,
    model: Model | None = None,
    log_prefix: str | None = None,
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return log1p of counts per 10,000, CSR float32, n_obs × genes, and unique gene names, whatever the data's scale.

    The genes are those of the object, in their order; with ``model`` the genes of its vocabulary that the object
    measured, by id and in vocabulary order, and cells are scaled over them alone. Columns of one name, or one gene of
    the model, are added up; columns without a name are left out. A cell without counts is a row of zeros.
    ``log_prefix`` stands before warnings about the values; `None` where the same values were warned of before.
    """
    layer, gene_key, synonyms = reading.layer, reading.gene_key, reading.synonyms
    if model is None:
        place, names = unique_gene_names(adata, gene_key)
        genes = GeneMap(place, len(names))
    else:
        reference = model_reference(model)
        matched = match_genes(adata, model.vocabulary, gene_key=gene_key, synonyms=synonyms, model=reference)
        measured = np.unique(matched.index[matched.index >= 0])
        names = model.vocabulary.gene_ids[measured]
        place = np.where(matched.index >= 0, np.searchsorted(measured, matched.index), -1)
        genes = GeneMap(place.astype(np.int32), len(measured))

    def normalise(chunk: CountChunk) -> sparse.csr_matrix:
        counts = chunk.counts.astype(np.float64)
        rows = sparse.csr_matrix((counts, chunk.genes, chunk.indptr), shape=(len(chunk.indptr) - 1, genes.n_genes))
        rows.sort_indices()
        sums = np.asarray(rows.sum(axis=1)).ravel()
        factor = np.divide(TARGET_SUM, sums, out=np.zeros_like(sums), where=sums > 0)
        rows.data = np.log1p(rows.data * np.repeat(factor, np.diff(rows.indptr)))
        return rows.astype(np.float32)

    parts, scales = map_counts(adata, genes, normalise, layer=layer)
    if log_prefix is not None:
        _scale_report.warn(log_prefix, adata, scales, layer=layer, genes=np.flatnonzero(place >= 0))
    return sparse.vstack(parts, format="csr"), names
