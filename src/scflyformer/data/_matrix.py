"""Rows of `X` or of a layer, whatever holds them: CSR, CSC or dense, in memory, on disk or behind dask, view or not."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

T = TypeVar("T")

CHUNK_VALUES = 1 << 17
"""Values a chunk aims at in memory: small enough for a processor's cache, large enough for NumPy."""
DENSE_VALUES = 1 << 21
"""Matrix elements, zeros included, that are taken at a time from a dense array in memory."""
DISK_VALUES = 1 << 24
"""Matrix elements, zeros included, that are read at a time from disk."""


class RawRows(NamedTuple):
    """Cells as they stand in the data: a CSR matrix without SciPy's checks, which cost as much as the work itself."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of cells."""
        return len(self.indptr) - 1


def layer_names(adata: AnnData) -> list[str]:
    """Return the names of the layers; from anndata 0.13 on `X` is among them, under `None`."""
    return [name for name in adata.layers if name is not None]


def matrix_of(adata: AnnData, layer: str | None) -> Any:
    """Return `X` or a layer, as AnnData holds it; an error where there is none, which lists near names."""
    if layer is not None:
        if layer not in adata.layers:
            raise KeyError(missing_key(layer, layer_names(adata), what="layer", place="layers"))
        return adata.layers[layer]
    if adata.X is None:
        layers = ", ".join(map(repr, layer_names(adata))) or "none"
        raise ValueError(f"The object has no X; pass layer= with counts. Its layers: {layers}.")
    return adata.X


def is_lazy(adata: AnnData, layer: str | None) -> bool:
    """Whether `X` or a layer is a dask array; a view is not taken out to tell."""
    if adata.isbacked and layer is None:
        return False
    return _is_dask(matrix_of(adata[:1] if adata.is_view and not adata.isbacked else adata, layer))


def _is_dask(matrix: Any) -> bool:
    """Whether a matrix is a dask array; dask is not imported to find out."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(matrix, dask_array.Array)


def missing_key(key: object, known: list[str], *, what: str, place: str) -> str:
    """Return the message for a key that is not there: near names first, else all names."""
    known = [str(name) for name in known]
    folded = {name.casefold(): name for name in reversed(known)}
    near = [folded[word] for word in get_close_matches(str(key).casefold(), folded, n=3, cutoff=0.6)]
    if near:
        advice = f"; did you mean {' or '.join(map(repr, near))}?"
    elif known:
        advice = f"; there are: {', '.join(map(repr, known[:20]))}."
    else:
        advice = ", which has no columns." if place in ("obs", "var") else "; there are none."
    return f"{what}: no {key!r} in adata.{place}{advice}"


def raw_chunks(adata: AnnData, layer: str | None) -> Iterator[RawRows]:
    """Yield the rows of `X` or of a layer, in order.

    CSR and dense data are read piece by piece, dask arrays by their row chunks, one after the other. CSC data is laid
    out by gene and is turned into CSR once, in memory; so is a view of a file, which AnnData does not let one index
    again.
    """
    if is_lazy(adata, layer):
        for block in _row_blocks(matrix_of(adata, layer)):
            yield from csr_chunks(block.compute())
        return
    piecewise = adata.is_view and not adata.isbacked
    source = matrix_of(adata[:1] if piecewise else adata, layer)
    if getattr(source, "format", "csr") != "csr":
        whole = matrix_of(adata, layer)
        yield from csr_chunks(whole if sparse.issparse(whole) else whole.to_memory())
    elif sparse.issparse(source) and not piecewise:
        yield from csr_chunks(source)
    else:
        n_obs, n_vars = adata.shape
        dense = isinstance(source, np.ndarray)
        size = max((DENSE_VALUES if dense else DISK_VALUES) // max(n_vars, 1), 1)
        for start in range(0, n_obs, size):
            rows = slice(start, min(start + size, n_obs))
            yield from csr_chunks(matrix_of(adata[rows], layer) if piecewise else source[rows])


def _as_csr(block: Any) -> sparse.csr_matrix:
    if sparse.issparse(block):
        if not block.dtype.isnative:  # SciPy computes in the byte order of the machine only
            block = block.astype(block.dtype.newbyteorder("="))
        return sparse.csr_matrix(block)
    if isinstance(block, np.ndarray):
        if block.dtype.kind not in "fiub":
            raise ValueError(f"The data holds values of type {block.dtype}; expected numbers.")
        narrow = block.dtype == np.float16  # SciPy has no sparse matrix of it
        return sparse.csr_matrix(np.asarray(block, dtype=np.float32 if narrow else block.dtype.newbyteorder("=")))
    raise TypeError(
        f"The data is a {type(block).__module__}.{type(block).__name__}; expected a NumPy array or a SciPy sparse "
        "matrix, in memory, on disk or as chunks of a dask array. Call .to_memory() first."
    )


def csr_chunks(block: Any) -> Iterator[RawRows]:
    """Cut a matrix in memory, sparse or dense, into chunks.

    The values of a CSR matrix are not copied. They are the user's, and read-only here: what works in place fails.
    """
    matrix = _as_csr(block)
    n_obs = matrix.shape[0]
    size = max(int(CHUNK_VALUES // max(matrix.nnz / max(n_obs, 1), 1)), 1)
    for start in range(0, n_obs, size):
        indptr = matrix.indptr[start : min(start + size, n_obs) + 1]
        entries = slice(indptr[0], indptr[-1])
        data, indices = matrix.data[entries], matrix.indices[entries]
        data.flags.writeable = indices.flags.writeable = False
        yield RawRows(data, indices, (indptr - indptr[0]).astype(np.int64))


def _row_blocks(matrix: Any) -> list[Any]:
    """Return the row chunks of a dask array, each with all columns, as `dask.delayed` objects in order."""
    if len(matrix.chunks[1]) > 1:
        matrix = matrix.rechunk({1: -1})
    return matrix.to_delayed().ravel().tolist()


def map_row_blocks(matrix: Any, work: Callable[[Any], T]) -> list[T]:
    """Apply ``work`` to the row chunks of a dask array, in order, where the scheduler in force wants it done.

    A chunk is dense or sparse, in memory. ``work`` is pickled for schedulers of other processes; one that runs on a
    cluster gets it once, not with every chunk.
    """
    import dask

    shared = dask.delayed(work, pure=False, traverse=False)  # a node of the graph, to which the others refer
    call = dask.delayed(_call, pure=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # it holds the network's weights, once
        return list(dask.compute(*[call(shared, block) for block in _row_blocks(matrix)]))


def _call(work: Callable[[Any], T], rows: Any) -> T:
    return work(rows)
