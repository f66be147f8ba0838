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
from scflyformer.data._gene_names import coverage_of, match_genes, synonym_table, what_opens
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
    """Turn the cells of an object into ranked tokens of a model.

    Parameters
    ----------
    adata
        The data: counts, or log1p of normalised counts (found for each cell from its values).
    model
        The model whose vocabulary and length hold.
    reading
        What to read.
    max_len
        Most tokens a cell; the model's length where `None`.
    with_values
        ``False`` leaves the values out where only the order counts; see `rank_tokens`.
    progress
        Whether to show a bar.
    log_prefix
        Words before what is told of coverage, such as ``"reference: "``; `None` tells nothing: of the same cells it was
        told before.

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
        Where the layer or the column of gene names do not exist.
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
    """Turn cells into ranked tokens block by block and do something with each block, so that not all exist at once.

    Parameters
    ----------
    then
        What to do with a block of consecutive cells. For a dask array it runs where the block is, so it is pickled.
    adata, model, reading, max_len, with_values, progress, log_prefix
        As for `token_rows`, which also says what is raised.

    Returns
    -------
    What ``then`` made of the blocks, in the order of the cells, and the coverage report.
    """
    vocabulary, limit = model.vocabulary, model.max_len
    max_len = limit if max_len is None else max_len
    if not 1 <= max_len <= limit:
        raise ValueError(f"max_len is {max_len}; expected 1 to {limit}, the length that model {model.name!r} takes.")
    layer, gene_key, table = reading.layer, reading.gene_key, synonym_table(reading.synonyms)
    opens = what_opens(model)
    found = match_genes(adata, vocabulary, gene_key=gene_key, synonyms=table, model=opens)
    genes = GeneMap(found.index, vocabulary.n_genes)
    bar = _log.progress if progress else None
    counts = np.full(2, np.nan)
    by_name = Coverage.of(found, vocabulary, counts_mapped=np.nan, counts=np.nan)
    if (log_prefix is not None and by_name.names_poor) or not by_name.enough:
        # The counts tell how bad it is, or clear the floor; what follows may be long, so they come first.
        counts = np.sum(map_counts(adata, genes, _shares, layer=layer, progress=bar)[0], axis=0)
    warning = coverage_of(adata, vocabulary, found, gene_key, table, counts, model=opens)[1]
    if log_prefix is not None:
        for said in filter(None, (spelling_words(found, gene_key=gene_key), warning)):
            _log.warning(log_prefix + said)
    rank = partial(_rank, medians=vocabulary.medians, max_len=max_len, with_values=with_values)
    panel = np.isin(np.arange(vocabulary.n_genes), found.index)
    gather = partial(_gather, panel=panel, max_len=max_len, then=then)
    blocks, scales = map_counts(adata, genes, rank, layer=layer, gather=gather, progress=bar)
    sums = np.sum([sums for _, sums in blocks], axis=0)
    coverage = Coverage.of(found, vocabulary, counts_mapped=sums[0], counts=sums[1])
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
        _scale_report.warn(log_prefix, adata, scales, layer=layer, genes=np.flatnonzero(found.index >= 0))
    report = coverage.report() | _scale_report.summary(scales)
    report |= {
        "n_cells_empty": int(n_empty),
        "n_cells_at_full_length": int(n_full),
    }
    return [made for made, _ in blocks], report


def _shares(chunk: CountChunk) -> list[float]:
    return [chunk.kept, chunk.total]


def _rank(chunk: CountChunk, *, medians: np.ndarray, max_len: int, with_values: bool) -> tuple[TokenRows, list[float]]:
    rows = rank_tokens(chunk.indptr, chunk.genes, chunk.counts, medians, with_values=with_values)
    return rows.cut(max_len), _shares(chunk)


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
