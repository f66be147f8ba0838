"""Counts leave AnnData in row chunks: in gene space, each cell on its own scale, checked."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer.data._matrix import RawRows, csr_chunks, is_lazy, map_row_blocks, matrix_of, raw_chunks
from scflyformer.tokens._scale import COUNTS, NO_EVIDENCE, are_integers, check_values, read_cells, undo, varied_cells

if TYPE_CHECKING:
    from anndata import AnnData

T = TypeVar("T")

MAX_WORKERS = 8
BLOCK_CELLS = 1 << 13
"""Cells whose results are gathered at a time: enough to find many of nearly equal length, few enough for memory."""


@dataclass(frozen=True, eq=False)
class CountChunk:
    """Expression of some cells in the genes asked for."""

    indptr: np.ndarray  # over the chunk's cells, int64, (n_cells + 1,)
    genes: np.ndarray  # of each entry, each at most once a cell
    counts: np.ndarray
    """Positive values, linear within a cell: whole counts wherever they are known or could be rebuilt. They may be the
    user's own array, which is read-only here."""
    total: float  # sum over all genes of the data, on the linear scale
    kept: float  # sum over the genes asked for
    scale: np.ndarray  # number of each cell's scale in `scflyformer.tokens._scale.SCALES`, int8
    rebuilt: np.ndarray  # whether a cell's counts are whole, bool


@dataclass(frozen=True, eq=False)
class CellScales:
    """What all cells were read as: ``scale`` and ``rebuilt`` of `CountChunk`, in the order of the cells."""

    scale: np.ndarray
    rebuilt: np.ndarray

    @classmethod
    def concatenate(cls, parts: Sequence[CountChunk | CellScales]) -> CellScales:
        """Return those of all parts, in order."""
        scale = [part.scale for part in parts] or [np.empty(0, np.int8)]
        return cls(np.concatenate(scale), np.concatenate([part.rebuilt for part in parts] or [np.empty(0, bool)]))


@dataclass(frozen=True, eq=False)
class GeneMap:
    """Columns of the data to genes."""

    index: np.ndarray  # gene of each column, -1 for none, int32, (n_vars,)
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
) -> tuple[list[Any], CellScales]:
    """Apply ``work`` to the counts of all cells, chunk by chunk: in a few threads, or wherever dask computes.

    ``work`` runs in threads, so it must not change anything outside. ``gather`` gets the results of consecutive chunks
    as soon as there are `BLOCK_CELLS` cells; for a dask array of one row chunk at a time. It is called from one thread,
    except by dask. ``progress`` makes a bar that counts cells and shows from one second on; dask has bars of its own.

    Returns what became of the cells, in their order, and the scale of each. Negative, missing or infinite values are an
    error in the genes asked for.
    """
    read = partial(
        _read_chunk, genes=genes, product=genes.product() if genes.collapses else None, where=where(layer), work=work
    )
    blocks: Iterable[tuple[Any, CellScales]]
    if is_lazy(adata, layer):
        parts = map_row_blocks(matrix_of(adata, layer), partial(_lazy_block, read=read, gather=gather))
        blocks = chain.from_iterable(parts)
    else:
        none = nullcontext()
        with progress(total=adata.n_obs, desc="reading cells", unit="cell", delay=1) if progress else none as bar:
            blocks = list(_gather_blocks(_in_threads(read, raw_chunks(adata, layer)), gather, bar))
    results, scales = zip(*blocks, strict=True)
    return list(results if gather else chain.from_iterable(results)), CellScales.concatenate(scales)


def _read_chunk(
    rows: RawRows, *, genes: GeneMap, product: sparse.csr_matrix | None, where: str, work: Callable[[CountChunk], T]
) -> tuple[T, CellScales]:
    """Return what ``work`` makes of a chunk, and the scales of its cells."""
    chunk = _to_counts(rows, genes, product, where)
    return work(chunk), CellScales(chunk.scale, chunk.rebuilt)


def _lazy_block(rows: Any, *, read: Callable[[RawRows], Any], gather: Callable[[list[Any]], Any] | None) -> list[Any]:
    """Return what becomes of a row chunk of a dask array."""
    return list(_gather_blocks(((chunk.n_rows, read(chunk)) for chunk in csr_chunks(rows)), gather, None))


def _gather_blocks(
    results: Iterable[tuple[int, tuple[Any, CellScales]]], gather: Callable[[list[Any]], Any] | None, bar: Any
) -> Iterator[tuple[Any, CellScales]]:
    """Yield what ``gather`` makes of the results of every `BLOCK_CELLS` cells, or a chunk more, and their scales."""
    waiting: list[tuple[Any, CellScales]] = []
    n_waiting = 0

    def gathered() -> tuple[Any, CellScales]:
        made, scales = zip(*waiting, strict=True)
        return (gather or list)(list(made)), CellScales.concatenate(scales)

    for n_cells, result in results:
        waiting.append(result)
        n_waiting += n_cells
        if bar is not None:
            bar.update(n_cells)
        if n_waiting >= BLOCK_CELLS:
            yield gathered()
            waiting, n_waiting = [], 0
    if waiting:
        yield gathered()


def row_chunks(
    adata: AnnData, *, layer: str | None, index: np.ndarray, n_genes: int
) -> Iterator[tuple[sparse.csr_matrix, CellScales]]:
    """Yield counts of consecutive cells, n_cells × n_genes, one after the other: for results too large to collect.

    ``index`` is the gene of each column, -1 for none. The counts are arrays of their own.
    """
    genes = GeneMap(np.asarray(index, dtype=np.int32), n_genes)
    product = genes.product() if genes.collapses else None
    for rows in raw_chunks(adata, layer):
        chunk = _to_counts(rows, genes, product, where(layer))
        parts = (chunk.counts, chunk.genes, chunk.indptr)
        matrix = sparse.csr_matrix(parts, shape=(rows.n_rows, n_genes), copy=True)  # sorting works in place
        matrix.sort_indices()
        yield matrix, CellScales(chunk.scale, chunk.rebuilt)


def expressed_genes(
    adata: AnnData, *, layer: str | None, index: np.ndarray, n_genes: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which genes consecutive cells express: a row pointer, and positions of genes, each once a cell.

    ``index`` is the gene of each column, -1 for none. No scale is looked for, since a zero is one on every scale.
    """
    genes = GeneMap(np.asarray(index, dtype=np.int32), n_genes)
    for rows in raw_chunks(adata, layer):
        values, columns, indptr = _relabel(rows, genes)
        check_values(values, where=where(layer))
        positions = genes.index.take(columns, mode="clip")
        if genes.collapses:
            ones = np.ones(len(positions), dtype=np.int32)
            matrix = sparse.csr_matrix((ones, positions, indptr), shape=(rows.n_rows, n_genes))
            matrix.sum_duplicates()
            positions, indptr = matrix.indices, matrix.indptr
        yield indptr, positions


def value_checksums(adata: AnnData, *, layer: str | None) -> np.ndarray:
    """Return a checksum of each cell's values by gene name, uint64, shape (n_obs,).

    It does not depend on the order of cells and genes, on the storage or the number type.
    """
    genes = pd.util.hash_array(adata.var_names.to_numpy().astype(str).astype(object))
    parts = []
    for rows in raw_chunks(adata, layer):
        values, columns, indptr = _without_repeats(rows, adata.n_vars)
        mixed = (values.astype(np.float64).view(np.uint64) ^ genes[columns]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed[values == 0] = 0  # stored or not, a zero says the same
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
        parts.append(np.diff(running[indptr]))
    return np.concatenate(parts)


def where(layer: str | None) -> str:
    """Return where values come from, in words."""
    return "X" if layer is None else f"layers[{layer!r}]"


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


def _to_counts(rows: RawRows, genes: GeneMap, product: sparse.csr_matrix | None, where: str) -> CountChunk:
    mapped = _relabel(rows, genes)
    check_values(mapped.data, where=where)
    values, columns, indptr = mapped
    n_rows = rows.n_rows
    if are_integers(values):
        scale = np.where(varied_cells(values, indptr), COUNTS, NO_EVIDENCE).astype(np.int8)
        rebuilt = np.ones(n_rows, dtype=bool)
        linear = values
    else:
        values, scale, rebuilt = read_cells(mapped.data, indptr)
        linear = undo(mapped.data, indptr, scale)
    kept = float(linear.sum(dtype=np.float64))
    total = kept if genes.all_mapped else _total(rows, scale)
    if product is None:
        gene = genes.index.take(columns, mode="clip")
    else:
        collapsed = sparse.csr_matrix((values, columns, indptr), shape=(n_rows, len(genes.index))) @ product
        values, gene, indptr = collapsed.data, collapsed.indices, collapsed.indptr.astype(np.int64)
    return CountChunk(indptr, gene, values, total, kept, scale, rebuilt)


def _total(rows: RawRows, scale: np.ndarray) -> float:
    """Sum of all genes' values; genes outside the vocabulary are not validated, so what is no number counts as none."""
    linear = undo(rows.data, rows.indptr, scale)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(linear.sum())
    if not np.isfinite(total) or (linear.size and linear.min() < 0):
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
