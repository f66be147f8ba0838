"""The cells of an object as ranked tokens of a model: all at once, or block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from scflyformer import _log
from scflyformer.data import _scale_report
from scflyformer.data._chunks import CountChunk, GeneMap, map_counts
from scflyformer.data._gene_names import coverage_of, match_genes, model_reference, synonym_table
from scflyformer.data._reading import AS_IT_IS, Reading
from scflyformer.genes._coverage import Coverage, low_counts, spelling_words
from scflyformer.tokens._rank import rank_tokens
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.models._model import Model

T = TypeVar("T")


def token_rows(
    adata: AnnData,
    model: Model,
    reading: Reading = AS_IT_IS,
    *,
    max_len: int | None = None,
    with_values: bool = True,
    progress: bool = True,
    log_prefix: str | None = "",
) -> tuple[TokenRows, dict[str, Any]]:
    """Return the cells of an object as ranked tokens of a model, in the order of `obs`, and the coverage report.

    ``max_len`` is at most the model's length, which holds where it is `None`. ``with_values=False`` is for where only
    the order counts, see `rank_tokens`. ``log_prefix`` stands before what the log says of coverage, such as
    ``"reference: "``; `None` says nothing: of the same cells it was said before.

    The report holds plain values, fit for `uns`. A cell without counts in the model's genes has no tokens. Values that
    are no expression, and too few genes recognised, are errors.
    """
    parts, report = map_token_rows(
        adata,
        model,
        _same,
        reading,
        max_len=max_len,
        with_values=with_values,
        progress=progress,
        log_prefix=log_prefix,
    )
    return TokenRows.concatenate(parts), report


def map_token_rows(
    adata: AnnData,
    model: Model,
    then: Callable[[TokenRows], T],
    reading: Reading = AS_IT_IS,
    *,
    max_len: int | None = None,
    with_values: bool = True,
    progress: bool = True,
    log_prefix: str | None = "",
) -> tuple[list[T], dict[str, Any]]:
    """Do something with each block of consecutive cells as ranked tokens, so that not all exist at once.

    For a dask array ``then`` runs where the block is, so it is pickled. Returns what it made of the blocks, in order,
    and the coverage report; the rest as for `token_rows`.
    """
    vocabulary, limit = model.vocabulary, model.max_len
    max_len = limit if max_len is None else max_len
    if not 1 <= max_len <= limit:
        raise ValueError(f"max_len is {max_len}; expected 1 to {limit}, the length that model {model.name!r} takes.")
    layer, gene_key, table = reading.layer, reading.gene_key, synonym_table(reading.synonyms)
    reference = model_reference(model)
    resolution = match_genes(adata, vocabulary, gene_key=gene_key, synonyms=table, model=reference)
    genes = GeneMap(resolution.index, vocabulary.n_genes)
    bar = _log.progress if progress else None
    counts = np.full(2, np.nan)
    by_name = Coverage.of(resolution, vocabulary, counts_mapped=np.nan, counts=np.nan)
    if (log_prefix is not None and by_name.names_poor) or not by_name.enough:
        # The counts tell how bad it is, or clear the floor; what follows may be long, so they come first.
        counts = np.sum(map_counts(adata, genes, _counts_of, layer=layer, progress=bar)[0], axis=0)
    warning = coverage_of(adata, vocabulary, resolution, gene_key, table, counts, model=reference)[1]
    if log_prefix is not None:
        for message in filter(None, (spelling_words(resolution, gene_key=gene_key), warning)):
            _log.warning(log_prefix + message)
    rank = partial(_rank, medians=vocabulary.medians, max_len=max_len, with_values=with_values)
    panel = np.isin(np.arange(vocabulary.n_genes), resolution.index)
    gather = partial(_gather, panel=panel, max_len=max_len, then=then)
    blocks, scales = map_counts(adata, genes, rank, layer=layer, gather=gather, progress=bar)
    sums = np.sum([sums for _, sums in blocks], axis=0)
    coverage = Coverage.of(resolution, vocabulary, counts_mapped=sums[0], counts=sums[1])
    n_empty, n_full = sums[2:].tolist()
    if log_prefix is not None:
        _log.info(log_prefix + str(coverage))
        if not warning and (few := low_counts(coverage, gene_key=gene_key)):
            _log.warning(log_prefix + few)
        if n_empty:
            _log.warning(
                f"{log_prefix}{n_empty:.0f} of {adata.n_obs} cells have no counts in the model's genes and get no "
                "tokens."
            )
        _scale_report.warn(log_prefix, adata, scales, layer=layer, genes=np.flatnonzero(resolution.index >= 0))
    report = coverage.report() | _scale_report.summary(scales)
    report |= {
        "n_cells_empty": int(n_empty),
        "n_cells_at_full_length": int(n_full),
    }
    return [made for made, _ in blocks], report


def _counts_of(chunk: CountChunk) -> list[float]:
    return [chunk.kept, chunk.total]


def _rank(chunk: CountChunk, *, medians: np.ndarray, max_len: int, with_values: bool) -> tuple[TokenRows, list[float]]:
    rows = rank_tokens(chunk.indptr, chunk.genes, chunk.counts, medians, with_values=with_values)
    return rows.cut(max_len), _counts_of(chunk)


def _gather(
    parts: list[tuple[TokenRows, list[float]]],
    *,
    panel: np.ndarray,
    max_len: int,
    then: Callable[[TokenRows], T],
) -> tuple[T, np.ndarray]:
    rows = replace(TokenRows.concatenate([ranked for ranked, _ in parts]), panel=panel)
    lengths = [(rows.lengths == 0).sum(), (rows.lengths == max_len).sum()]
    return then(rows), np.concatenate([np.reshape([sums for _, sums in parts], (-1, 2)).sum(axis=0), lengths])


def _same(rows: TokenRows) -> TokenRows:
    return rows
