"""Matrices that dask holds: their rows, chunk by chunk, on whatever scheduler is in force."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def is_lazy(matrix: Any) -> bool:
    """Whether a matrix is a dask array; dask is not imported to find out."""
    dask_array = sys.modules.get("dask.array")
    return dask_array is not None and isinstance(matrix, dask_array.Array)


def row_blocks(matrix: Any) -> list[Any]:
    """Return the row chunks of a dask array, each with all columns, as `dask.delayed` objects in order."""
    if len(matrix.chunks[1]) > 1:
        matrix = matrix.rechunk({1: -1})
    return matrix.to_delayed().ravel().tolist()


def map_row_blocks(matrix: Any, work: Callable[[Any], T]) -> list[T]:
    """Apply ``work`` to the row chunks of a dask array, where the scheduler in force wants it done.

    Parameters
    ----------
    matrix
        Two-dimensional dask array.
    work
        Called with a chunk, dense or sparse, in memory. It is pickled for schedulers of other processes; one that runs
        on a cluster gets it once, not with every chunk.

    Returns
    -------
    The results in the order of the rows.
    """
    import dask

    shared = dask.delayed(work, pure=False, traverse=False)  # a node of the graph, to which the others refer
    call = dask.delayed(_call, pure=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")  # it holds the network's weights, once
        return list(dask.compute(*[call(shared, block) for block in row_blocks(matrix)]))


def _call(work: Callable[[Any], T], rows: Any) -> T:
    return work(rows)
