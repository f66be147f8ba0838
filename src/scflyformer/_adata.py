"""The one door between AnnData or MuData and the workshops: what goes in and what comes out passes here."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer import _log
from scflyformer._chunks import CountChunk, GeneMap, map_counts
from scflyformer._matrix import missing_key
from scflyformer._write import run_params, write
from scflyformer.genes._coverage import Coverage, require_coverage
from scflyformer.genes._resolve import Resolution, resolve_genes
from scflyformer.genes._synonyms import SynonymTable, read_synonyms
from scflyformer.tokens._rank import rank_tokens
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models._model import Model

__all__ = [
    "expression",
    "gene_names",
    "match_genes",
    "obs_column",
    "open_data",
    "run_params",
    "start",
    "synonym_table",
    "token_rows",
    "write",
]

TARGET_SUM = 1e4
"""What `expression` scales each cell to before the logarithm."""


def open_data(data: AnnData | MuData, *, mod: str | None = None) -> AnnData:
    """Return the AnnData to work on: the object itself, or modality ``mod`` of a MuData.

    Raises
    ------
    TypeError
        When it is neither AnnData nor MuData.
    KeyError
        When there is no such modality.
    ValueError
        When a MuData comes without ``mod``, an AnnData with it, or the object has no cells or no genes.
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

    Returns
    -------
    The object to return where ``copy`` is true (a copy of what was given, in memory where it was backed), and the
    AnnData in it to read from and write to.

    Raises
    ------
    ValueError
        When it cannot be written to: a view of a file on disk.
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


def gene_names(adata: AnnData, gene_key: str | None) -> np.ndarray:
    """Return the gene names: ``var_names``, or the column ``gene_key`` of ``var``.

    Raises
    ------
    KeyError
        When there is no such column; lists near names.
    """
    if gene_key is None:
        return adata.var_names.to_numpy()
    if gene_key not in adata.var:
        raise KeyError(missing_key(gene_key, list(adata.var), what="gene_key", place="var"))
    return adata.var[gene_key].to_numpy(dtype=object)


def synonym_table(synonyms: str | os.PathLike[str] | SynonymTable | None) -> SynonymTable | None:
    """Return a synonym table as it is, or read the one named."""
    return synonyms if synonyms is None or isinstance(synonyms, SynonymTable) else read_synonyms(synonyms)


def match_genes(
    adata: AnnData,
    vocabulary: Vocabulary,
    *,
    gene_key: str | None = None,
    synonyms: str | os.PathLike[str] | SynonymTable | None = None,
) -> Resolution:
    """Resolve the gene names of an object; an error where not one is recognised."""
    table = synonym_table(synonyms)
    found = resolve_genes(gene_names(adata, gene_key), vocabulary, synonyms=table)
    if found.n_mapped == 0:
        _require(adata, vocabulary, found, gene_key, table, kept=float("nan"), total=float("nan"))
    return found


def token_rows(
    adata: AnnData,
    model: Model,
    *,
    layer: str | None = None,
    gene_key: str | None = None,
    max_len: int | None = None,
    synonyms: str | os.PathLike[str] | SynonymTable | None = None,
    with_values: bool = True,
    progress: bool = True,
) -> tuple[TokenRows, dict[str, Any]]:
    """Turn the cells of an object into ranked tokens of a model.

    Parameters
    ----------
    adata
        The data: counts, or log1p of normalised counts (told from the values).
    model
        The model whose vocabulary and length hold.
    layer
        Layer with the expression; `X` where `None`.
    gene_key
        Column of `var` with the gene names; `var_names` where `None`.
    max_len
        Most tokens a cell; the model's length where `None`.
    synonyms
        A FlyBase synonym file, or ``"flybase"`` to fetch it.
    with_values
        ``False`` leaves the values out where only the order counts; see `rank_tokens`.
    progress
        Whether to show a bar.

    Returns
    -------
    The ranked cells, in the order of `obs`, and the coverage report (plain values, fit for `uns`). A cell without
    counts in the model's genes has no tokens.

    Raises
    ------
    ValueError
        Where values are no expression, where too few genes are recognised, or ``max_len`` is not 1 to the model's
        length.
    KeyError
        Where ``layer`` or ``gene_key`` do not exist.
    """
    vocabulary, limit = model.vocabulary, model.max_len
    max_len = limit if max_len is None else max_len
    if not 1 <= max_len <= limit:
        raise ValueError(f"max_len is {max_len}; expected 1 to {limit}, the length that model {model.name!r} takes.")
    table = synonym_table(synonyms)
    found = match_genes(adata, vocabulary, gene_key=gene_key, synonyms=table)

    def rank(chunk: CountChunk) -> tuple[TokenRows, np.ndarray]:
        rows = rank_tokens(chunk.indptr, chunk.genes, chunk.counts, vocabulary.medians, with_values=with_values)
        return rows.cut(max_len), np.array([chunk.kept, chunk.total, chunk.n_rebuilt])

    genes = GeneMap(found.index, vocabulary.n_genes)
    parts, scale = map_counts(adata, genes, rank, layer=layer, progress=_log.progress if progress else None)
    kept, total, rebuilt = np.sum([sums for _, sums in parts], axis=0).tolist()
    coverage = _require(adata, vocabulary, found, gene_key, table, kept=kept, total=total)
    panel = np.isin(np.arange(vocabulary.n_genes), found.index)
    rows = replace(TokenRows.concatenate([ranked for ranked, _ in parts]), panel=panel)
    n_empty = int((rows.lengths == 0).sum())
    if n_empty:
        _log.warning(f"{n_empty} of {len(rows)} cells have no counts in the model's genes and get no tokens.")
    report = coverage.report() | {
        "scale": scale,
        "share_cells_whole_counts": round(rebuilt / len(rows), 6),
        "n_cells_empty": n_empty,
    }
    return rows, report


def _require(
    adata: AnnData,
    vocabulary: Vocabulary,
    found: Resolution,
    gene_key: str | None,
    table: SynonymTable | None,
    *,
    kept: float,
    total: float,
) -> Coverage:
    """Check the floor of coverage and log what was recognised."""
    coverage = Coverage.of(found, vocabulary, counts_mapped=kept, counts=total)
    column = "var_names" if gene_key is None else f"var[{gene_key!r}]"
    advice = require_coverage(
        coverage, vocabulary, column=column, others=_other_names(adata, gene_key), with_table=table is not None
    )
    _log.info(str(coverage))
    if advice:
        _log.warning(advice)
    return coverage


def _other_names(adata: AnnData, gene_key: str | None) -> dict[str, pd.Series]:
    """Return the text columns of `var` that might hold gene names and were not used."""
    columns = (name for name in adata.var.columns if name != gene_key)
    return {name: adata.var[name] for name in columns if _is_text(adata.var[name])}


def _is_text(column: Any) -> bool:
    """Whether a column holds text, categories of text included."""
    if not isinstance(column, pd.Series):  # a column name that occurs twice
        return False
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.categories
    return column.dtype == object or pd.api.types.is_string_dtype(column.dtype)


def expression(
    adata: AnnData,
    *,
    layer: str | None = None,
    gene_key: str | None = None,
    model: Model | None = None,
    synonyms: str | os.PathLike[str] | SynonymTable | None = None,
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return log1p of counts per 10,000, whatever the scale of the data.

    Parameters
    ----------
    adata
        The data: counts, normalised counts, or their log1p.
    layer
        Layer to read; `X` where `None`.
    gene_key
        Column of `var` with gene names; `var_names` where `None`.
    model
        Where given, only the genes of its vocabulary, columns of one gene added up, and cells scaled over them alone.
    synonyms
        With ``model``: a FlyBase synonym file, or ``"flybase"`` to fetch it.

    Returns
    -------
    Expression, float32, n_obs × genes, and the gene names: those of the object, or the model's gene ids that the
    object measured, in vocabulary order. A cell without counts is a row of zeros.

    Raises
    ------
    ValueError
        For negative, missing or infinite values, mixed scales, or no gene of the model.
    """
    if model is None:
        names = gene_names(adata, gene_key)
        genes = GeneMap(np.arange(adata.n_vars, dtype=np.int32), adata.n_vars)
    else:
        found = match_genes(adata, model.vocabulary, gene_key=gene_key, synonyms=synonyms)
        measured = np.unique(found.index[found.index >= 0])
        names = model.vocabulary.gene_ids[measured]
        place = np.where(found.index >= 0, np.searchsorted(measured, found.index), -1)
        genes = GeneMap(place.astype(np.int32), len(measured))

    def normalise(chunk: CountChunk) -> sparse.csr_matrix:
        counts = chunk.counts.astype(np.float64)
        rows = sparse.csr_matrix((counts, chunk.genes, chunk.indptr), shape=(len(chunk.indptr) - 1, genes.n_genes))
        rows.sort_indices()
        sums = np.asarray(rows.sum(axis=1)).ravel()
        factor = np.divide(TARGET_SUM, sums, out=np.zeros_like(sums), where=sums > 0)
        rows.data = np.log1p(rows.data * np.repeat(factor, np.diff(rows.indptr)))
        return rows.astype(np.float32)

    parts, _ = map_counts(adata, genes, normalise, layer=layer)
    return sparse.vstack(parts, format="csr"), np.asarray(names)


def obs_column(adata: AnnData, key: str, *, what: str) -> pd.Series:
    """Return a column of `obs`.

    Parameters
    ----------
    adata
        The data.
    key
        The column.
    what
        The argument that named it, for the message: ``"label_key"``.

    Raises
    ------
    KeyError
        When there is no such column; lists near names.
    """
    if key not in adata.obs:
        raise KeyError(missing_key(key, list(adata.obs), what=what, place="obs"))
    return adata.obs[key]


def obs_text(adata: AnnData, key: str, *, what: str) -> np.ndarray:
    """Return a column of `obs` as text, object, `None` where it is missing; arguments as for :func:`obs_column`."""
    column = obs_column(adata, key, what=what)
    text = column.astype(object).map(str).to_numpy(dtype=object)
    text[column.isna().to_numpy()] = None
    return text
