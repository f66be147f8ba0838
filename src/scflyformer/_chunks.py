"""Counts leave AnnData in row chunks, whatever holds them: CSR, CSC or dense, in memory or on disk, view or not."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import sparse

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

CHUNK_VALUES = 1 << 19
"""Values a chunk aims at in memory: small enough for a processor's cache, large enough for NumPy."""
DISK_VALUES = 1 << 24
"""Values a chunk aims at when it is read from disk."""
MAX_WORKERS = 8


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


def matrix_of(adata: AnnData, layer: str | None) -> Any:
    """Return `X` or a layer, as AnnData holds it.

    Raises
    ------
    KeyError
        When there is no such layer; lists near names.
    ValueError
        When the object has no `X`.
    """
    if layer is not None:
        if layer not in adata.layers:
            raise KeyError(missing_key(layer, list(adata.layers), what="layer", place="layers"))
        return adata.layers[layer]
    if adata.X is None:
        layers = ", ".join(map(repr, adata.layers)) or "none"
        raise ValueError(f"The object has no X; pass layer= with counts. Its layers: {layers}.")
    return adata.X


def missing_key(key: object, known: list[str], *, what: str, place: str) -> str:
    """Return the message for a key that is not there: near names first, else all names."""
    known = [str(name) for name in known]
    folded = {name.casefold(): name for name in reversed(known)}
    near = [folded[word] for word in get_close_matches(str(key).casefold(), folded, n=3, cutoff=0.5)]
    if near:
        advice = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        advice = f"there are: {', '.join(map(repr, known[:20]))}." if known else "there are none."
    return f"{what}: no {key!r} in adata.{place}; {advice}"


def raw_chunks(adata: AnnData, layer: str | None) -> Iterator[sparse.csr_matrix]:
    """Yield the rows of `X` or of a layer, in order, as CSR matrices without repeated entries.

    CSR and dense data are read piece by piece. CSC data is laid out by gene and is turned into CSR once, in memory.
    """
    n_obs, n_vars = adata.shape
    source = matrix_of(adata[:1], layer) if adata.is_view else matrix_of(adata, layer)
    kind = getattr(source, "format", None)
    if kind == "csc" or (sparse.issparse(source) and kind != "csr"):
        whole = matrix_of(adata, layer)
        source = sparse.csr_matrix(whole if sparse.issparse(whole) else whole.to_memory())
        yield from _csr_chunks(source)
    elif sparse.issparse(source) and not adata.is_view:
        yield from _csr_chunks(source)
    else:
        on_disk = not isinstance(source, np.ndarray) or adata.isbacked
        size = max((DISK_VALUES if on_disk else 4 * CHUNK_VALUES) // max(n_vars, 1), 1)
        for start in range(0, n_obs, size):
            stop = min(start + size, n_obs)
            block = matrix_of(adata[start:stop], layer) if adata.is_view else source[start:stop]
            yield from _csr_chunks(_as_csr(block))


def _as_csr(block: Any) -> sparse.csr_matrix:
    if sparse.issparse(block):
        return sparse.csr_matrix(block)
    if isinstance(block, np.ndarray):
        return sparse.csr_matrix(np.asarray(block))
    raise TypeError(
        f"The data is a {type(block).__module__}.{type(block).__name__}; expected a NumPy array or a SciPy sparse "
        "matrix, in memory or on disk. Call .to_memory() or .compute() first."
    )


def _csr_chunks(matrix: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
    """Cut a CSR matrix into chunks without copying its values; repeated entries are added up in the chunk alone."""
    n_obs, n_vars = matrix.shape
    size = max(int(CHUNK_VALUES // max(matrix.nnz / max(n_obs, 1), 1)), 1)
    for start in range(0, n_obs, size):
        indptr = matrix.indptr[start : min(start + size, n_obs) + 1]
        entries = slice(indptr[0], indptr[-1])
        parts = (matrix.data[entries], matrix.indices[entries], indptr - indptr[0])
        chunk = sparse.csr_matrix(parts, shape=(len(indptr) - 1, n_vars))
        if not chunk.has_canonical_format:
            chunk = chunk.copy()
            chunk.sum_duplicates()
        yield chunk


def map_counts(
    adata: AnnData,
    genes: GeneMap,
    work: Callable[[CountChunk], T],
    *,
    layer: str | None,
    progress: Callable[..., Any] | None = None,
) -> tuple[list[T], Scale]:
    """Apply ``work`` to the counts of all cells, chunk by chunk, in a few threads.

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
    progress
        Makes a bar that counts cells, called as ``progress(total=..., desc=..., unit=...)``.

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

    def run(scale: Scale) -> list[T]:
        def one(chunk: sparse.csr_matrix) -> T:
            return work(_to_counts(chunk, genes, product, scale, where))

        results = _in_threads(one, raw_chunks(adata, layer))
        if progress is None:
            return [result for _, result in results]
        collected = []
        with progress(total=adata.n_obs, desc="reading cells", unit="cell") as bar:
            for n_cells, result in results:
                collected.append(result)
                bar.update(n_cells)
        return collected

    try:
        return run("counts"), "counts"
    except _NotCounts:
        scale = find_scale(adata, genes, layer=layer, where=where)
    return run(scale), scale


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
        matrix = sparse.csr_matrix(parts, shape=(chunk.shape[0], n_genes))
        matrix.sort_indices()
        yield start, matrix
        start += chunk.shape[0]


def find_scale(adata: AnnData, genes: GeneMap, *, layer: str | None, where: str) -> Scale:
    """Return the scale of data that are not counts, from all cells; see `ScaleEvidence`."""
    evidence = ScaleEvidence(where)
    for chunk in raw_chunks(adata, layer):
        values, _, indptr = _relabel(chunk, genes)
        evidence.add(values, indptr)
    if evidence.clear:
        return evidence.scale()
    evidence = ScaleEvidence(where, candidates=("log1p", "linear", "log2(x+1)", "log10(x+1)"))
    for chunk in raw_chunks(adata, layer):
        values, _, indptr = _relabel(chunk, genes)
        evidence.add(values, indptr)
    return evidence.scale()


def _where(layer: str | None) -> str:
    return "X" if layer is None else f"layers[{layer!r}]"


class _NotCounts(Exception):
    """Values that are not whole numbers: the scale has to be found."""


def _relabel(chunk: sparse.csr_matrix, genes: GeneMap) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, columns and row pointer of the non-zero entries in columns that are genes."""
    values, columns, indptr = chunk.data, chunk.indices, chunk.indptr
    keep = None if genes.all_mapped else (genes.index >= 0)[columns]
    if not values.all():
        keep = values != 0 if keep is None else keep & (values != 0)
    if keep is None:
        return values, columns, indptr.astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(keep)])
    return values[keep], columns[keep], ends[indptr]


def _to_counts(
    chunk: sparse.csr_matrix, genes: GeneMap, product: sparse.csr_matrix | None, scale: Scale, where: str
) -> CountChunk:
    values, columns, indptr = _relabel(chunk, genes)
    check_values(values, where=where)
    if scale == "counts" and not are_integers(values):
        raise _NotCounts
    values = to_linear(values, scale)
    kept = float(values.sum())
    total = kept if genes.all_mapped else _total(chunk.data, scale)
    if product is None:
        found = genes.index[columns]
    else:
        collapsed = sparse.csr_matrix((values, columns, indptr), shape=chunk.shape) @ product
        values, found, indptr = collapsed.data, collapsed.indices, collapsed.indptr.astype(np.int64)
    n_rebuilt = len(indptr) - 1
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


def _in_threads(work: Callable[[sparse.csr_matrix], T], chunks: Iterator[sparse.csr_matrix]) -> Iterator[tuple[int, T]]:
    """Yield rows and result of each chunk, in order; few chunks are drawn ahead, so a file is not read all at once."""
    workers = min(_n_cpus(), MAX_WORKERS)
    waiting: deque[tuple[int, Future[T]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in chunks:
                waiting.append((chunk.shape[0], pool.submit(work, chunk)))
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
