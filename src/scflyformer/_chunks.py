"""Counts leave AnnData in row chunks: in gene space, on a linear scale, checked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

from scflyformer import _dask
from scflyformer._matrix import RawRows, csr_chunks, is_lazy, matrix_of, raw_chunks
from scflyformer.tokens._scale import (
    Scale,
    ScaleEvidence,
    are_integers,
    check_values,
    rebuild_counts,
    to_linear,
)

if TYPE_CHECKING:
    from anndata import AnnData

T = TypeVar("T")

MAX_WORKERS = 8
BLOCK_CELLS = 1 << 13
"""Cells whose results are gathered at a time: enough to find many of nearly equal length, few enough for memory."""


@dataclass(frozen=True, eq=False)
class CountChunk:
    """Expression of some cells in the genes asked for.

    Attributes
    ----------
    indptr
        Row pointer over the chunk's cells, int64, shape (n_cells + 1,).
    genes
        Gene index of each entry, each gene at most once a cell.
    counts
        Positive values, linear within a cell: whole counts wherever they are known or could be rebuilt.
    total
        Sum over all genes of the data, on the linear scale.
    kept
        Sum over the genes asked for.
    n_rebuilt
        Cells whose counts are whole.
    """

    indptr: np.ndarray
    genes: np.ndarray
    counts: np.ndarray
    total: float
    kept: float
    n_rebuilt: int


@dataclass(frozen=True, eq=False)
class GeneMap:
    """Columns of the data to genes.

    Attributes
    ----------
    index
        Gene of each column, -1 for none, int32, shape (n_vars,).
    n_genes
        Number of genes.
    """

    index: np.ndarray
    n_genes: int

    @cached_property
    def all_mapped(self) -> bool:
        """Whether every column is a gene."""
        return bool((self.index >= 0).all())

    @cached_property
    def collapses(self) -> bool:
        """Whether several columns are the same gene."""
        mapped = self.index[self.index >= 0]
        return len(np.unique(mapped)) < len(mapped)

    def product(self) -> sparse.csr_matrix:
        """Return the matrix, n_vars × n_genes, whose product adds up the columns of a gene."""
        columns = np.flatnonzero(self.index >= 0)
        entries = (np.ones(len(columns)), (columns, self.index[columns]))
        return sparse.csr_matrix(entries, shape=(len(self.index), self.n_genes))


def _without_repeats(rows: RawRows, n_vars: int) -> RawRows:
    """Return rows in which a column occurs at most once a cell: themselves where columns ascend, else a summed copy."""
    ascending = rows.indices[1:] > rows.indices[:-1]
    inner = rows.indptr[1:-1]
    ascending[inner[(inner > 0) & (inner < len(rows.data))] - 1] = True  # from one row to the next it may fall
    if ascending.all():
        return rows
    values = rows.data if rows.data.dtype.kind == "f" else rows.data.astype(np.float64)  # sums may not fit small types
    matrix = sparse.csr_matrix((values, rows.indices, rows.indptr), shape=(rows.n_rows, n_vars), copy=True)
    matrix.sum_duplicates()
    return RawRows(matrix.data, matrix.indices, matrix.indptr.astype(np.int64))


def map_counts(
    adata: AnnData,
    genes: GeneMap,
    work: Callable[[CountChunk], Any],
    *,
    layer: str | None,
    gather: Callable[[list[Any]], Any] | None = None,
    progress: Callable[..., Any] | None = None,
) -> tuple[list[Any], Scale]:
    """Apply ``work`` to the counts of all cells, chunk by chunk: in a few threads, or wherever dask computes.

    Parameters
    ----------
    adata
        The data.
    genes
        Which columns are which genes.
    work
        What to do with a chunk. It runs in threads and, where the data turn out not to be counts, once more from the
        start; so it must not change anything outside.
    layer
        Layer to read; `X` where `None`.
    gather
        What to make of the results of consecutive chunks, as soon as there are `BLOCK_CELLS` cells; for a dask array
        beside the data, of one row chunk at a time. Called from one thread, except by dask. `None` leaves them as they
        are.
    progress
        Makes a bar that counts cells, called as `scflyformer._log.progress`; it shows from one second on. Dask has
        bars of its own.

    Returns
    -------
    The results in the order of the cells, and the scale found.

    Raises
    ------
    ValueError
        For negative, missing or infinite values, and for cells on different scales. Only the genes asked for count.
    """
    where = _where(layer)
    product = genes.product() if genes.collapses else None

    def run(scale: Scale) -> list[Any]:
        def one(chunk: RawRows) -> Any:
            return work(_to_counts(chunk, genes, product, scale, where))

        return _map_raw(adata, layer, one, gather, progress=progress)

    try:
        if is_lazy(adata, layer):  # before every worker finds out by itself
            _to_counts(next(raw_chunks(adata, layer)), genes, product, "counts", where)
        return run("counts"), "counts"
    except _NotCounts:
        scale = find_scale(adata, genes, layer=layer, where=where)
    return run(scale), scale


def _map_raw(
    adata: AnnData,
    layer: str | None,
    work: Callable[[RawRows], Any],
    gather: Callable[[list[Any]], Any] | None = None,
    *,
    progress: Callable[..., Any] | None = None,
) -> list[Any]:
    """Apply ``work`` to the chunks as they stand in the data; arguments and result as for `map_counts`."""
    blocks: Iterable[Any]
    if is_lazy(adata, layer):
        parts: list[Any] = _dask.map_row_blocks(
            matrix_of(adata, layer), partial(_block, work=work, gather=gather or list)
        )
        if any(isinstance(part, _NotCounts) for part in parts):
            raise _NotCounts
        blocks = chain.from_iterable(parts)
    else:
        none = nullcontext()
        with progress(total=adata.n_obs, desc="reading cells", unit="cell", delay=1) if progress else none as bar:
            blocks = list(_blocks(_in_threads(work, raw_chunks(adata, layer)), gather or list, bar))
    return list(blocks if gather else chain.from_iterable(blocks))


def _block(rows: Any, *, work: Callable[[RawRows], Any], gather: Callable[[list[Any]], Any]) -> list[Any] | _NotCounts:
    """Return what becomes of a row chunk; that they are no counts is said quietly, where dask would log a failure."""
    try:
        return list(_blocks(((chunk.n_rows, work(chunk)) for chunk in csr_chunks(rows)), gather, None))
    except _NotCounts:
        return _NotCounts()  # a new one: that which was raised holds the chunk


def _blocks(results: Iterable[tuple[int, Any]], gather: Callable[[list[Any]], T], bar: Any) -> Iterator[T]:
    """Yield what ``gather`` makes of the results of every `BLOCK_CELLS` cells, or a chunk more."""
    waiting: list[Any] = []
    n_waiting = 0
    for n_cells, result in results:
        waiting.append(result)
        n_waiting += n_cells
        if bar is not None:
            bar.update(n_cells)
        if n_waiting >= BLOCK_CELLS:
            yield gather(waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield gather(waiting)


def row_chunks(
    adata: AnnData, *, layer: str | None, index: np.ndarray, n_genes: int
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Yield counts of consecutive cells in gene space, one after the other: for results too large to collect.

    Parameters
    ----------
    adata
        The data.
    layer
        Layer to read; `X` where `None`.
    index
        Gene of each column, -1 for none, shape (n_vars,).
    n_genes
        Number of genes.

    Yields
    ------
    The position of the first cell, and its and the next cells' counts, n_cells × n_genes.

    Raises
    ------
    ValueError
        For negative, missing or infinite values, and where cells of whole counts are followed by others.
    """
    where = _where(layer)
    genes = GeneMap(np.asarray(index, dtype=np.int32), n_genes)
    product = genes.product() if genes.collapses else None
    scale: Scale = "counts"
    start = n_whole = 0
    for chunk in raw_chunks(adata, layer):
        try:
            counts = _to_counts(chunk, genes, product, scale, where)
        except _NotCounts:
            if n_whole:
                raise ValueError(
                    f"{where} holds whole counts up to cell {start} and other values after it; expected one scale "
                    "throughout. Pass layer= with counts for all."
                ) from None
            scale = find_scale(adata, genes, layer=layer, where=where)
            counts = _to_counts(chunk, genes, product, scale, where)
        n_whole += len(counts.counts)
        parts = (counts.counts, counts.genes, counts.indptr)
        matrix = sparse.csr_matrix(parts, shape=(chunk.n_rows, n_genes))
        matrix.sort_indices()
        yield start, matrix
        start += chunk.n_rows


def find_scale(adata: AnnData, genes: GeneMap, *, layer: str | None, where: str) -> Scale:
    """Return the scale of data that are not counts, from all cells; see `ScaleEvidence`."""

    def evidence(candidates: tuple[Scale, ...]) -> ScaleEvidence:
        def one(chunk: RawRows) -> ScaleEvidence:
            rows = _relabel(chunk, genes)
            found = ScaleEvidence(where, candidates)
            found.add(rows.data, rows.indptr)
            return found

        return ScaleEvidence.together(where, candidates, _map_raw(adata, layer, one))

    usual = evidence(("log1p",))
    return usual.scale() if usual.clear else evidence(("log1p", "linear", "log2(x+1)", "log10(x+1)")).scale()


def _where(layer: str | None) -> str:
    return "X" if layer is None else f"layers[{layer!r}]"


class _NotCounts(Exception):
    """Values that are not whole numbers: the scale has to be found."""


def _relabel(rows: RawRows, genes: GeneMap) -> RawRows:
    """Return the non-zero entries in columns that are genes, repeated entries added up."""
    values, columns, indptr = rows = _without_repeats(rows, len(genes.index))
    keep = None if genes.all_mapped else (genes.index >= 0).take(columns, mode="clip")
    if values.size and not values.min() > 0:
        keep = values != 0 if keep is None else keep & (values != 0)
    if keep is None:
        return rows
    ends = np.concatenate([[0], np.cumsum(keep)])
    return RawRows(values[keep], columns[keep], ends[indptr])


def _to_counts(
    rows: RawRows, genes: GeneMap, product: sparse.csr_matrix | None, scale: Scale, where: str
) -> CountChunk:
    values, columns, indptr = _relabel(rows, genes)
    check_values(values, where=where)
    if scale == "counts" and not are_integers(values):
        raise _NotCounts
    values = to_linear(values, scale)
    kept = float(values.sum())
    total = kept if genes.all_mapped else _total(rows.data, scale)
    if product is None:
        found = genes.index.take(columns, mode="clip")
    else:
        collapsed = sparse.csr_matrix((values, columns, indptr), shape=(rows.n_rows, len(genes.index))) @ product
        values, found, indptr = collapsed.data, collapsed.indices, collapsed.indptr.astype(np.int64)
    n_rebuilt = rows.n_rows
    if scale != "counts":
        values, rebuilt = rebuild_counts(values, indptr)
        n_rebuilt = int(rebuilt.sum())
    return CountChunk(indptr, found, values, total, kept, n_rebuilt)


def _total(values: np.ndarray, scale: Scale) -> float:
    """Sum of all genes' values; genes outside the vocabulary are not validated, so what is no number counts as none."""
    with np.errstate(over="ignore", invalid="ignore"):
        linear = to_linear(values, scale)
        total = float(linear.sum())
        if not np.isfinite(total) or (values.dtype.kind in "fi" and values.size and values.min() < 0):
            total = float(linear[np.isfinite(linear) & (linear > 0)].sum())
    return total


def _in_threads(work: Callable[[RawRows], T], chunks: Iterator[RawRows]) -> Iterator[tuple[int, T]]:
    """Yield rows and result of each chunk, in order; few chunks are drawn ahead, so a file is not read all at once."""
    workers = min(_n_cpus(), MAX_WORKERS)
    waiting: deque[tuple[int, Future[T]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in chunks:
                waiting.append((chunk.n_rows, pool.submit(work, chunk)))
                if len(waiting) > 2 * workers:
                    n_rows, future = waiting.popleft()
                    yield n_rows, future.result()
            while waiting:
                n_rows, future = waiting.popleft()
                yield n_rows, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _n_cpus() -> int:
    """Return the processors this process may use."""
    try:
        return max(len(os.sched_getaffinity(0)), 1)
    except AttributeError:
        return os.cpu_count() or 1
