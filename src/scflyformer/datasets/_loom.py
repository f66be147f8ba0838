"""Loom files as the Fly Cell Atlas has them: dense, genes × cells, read some cells at a time."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

CELLS = 2048
"""Cells read at a time: of 16,000 genes 130 MB."""


def read_loom(file: Path, *, backed: Literal["r"] | None) -> AnnData:
    """Return the cells of a loom file, counts as CSR float32, with its columns of one value a cell or a gene.

    Tables within it, such as SCope's clusterings, are left out.
    """
    import h5py
    from anndata import AnnData
    from scipy import sparse

    if backed is not None:
        raise ValueError(
            f"{file} is a loom file, laid out by gene; backed={backed!r} reads h5ad files only. Leave it out, write "
            "the result with write_h5ad, and open that file with anndata.read_h5ad(..., backed='r')."
        )
    try:
        with h5py.File(file, "r") as opened:
            matrix = opened["matrix"]
            obs, var = _frame(opened["col_attrs"], "CellID"), _frame(opened["row_attrs"], "Gene")
            if matrix.shape != (len(var), len(obs)):
                raise KeyError(f"matrix of shape {matrix.shape} for {len(var)} genes and {len(obs)} cells")
            starts = range(0, len(obs), CELLS)
            blocks = [sparse.csr_matrix(matrix[:, at : at + CELLS].T.astype(np.float32)) for at in starts]
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a readable loom file ({type(error).__name__}: {error}). Fetch it again."
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are not unique are the file's affair
        return AnnData(sparse.vstack(blocks, format="csr"), obs=obs, var=var)


def _frame(attributes: Any, index: str) -> pd.DataFrame:
    """Return the attributes of one value each as a data frame, with the attribute ``index`` as its index."""
    values = {name: stored[:] for name, stored in attributes.items() if _is_column(stored)}
    text = {name: _text(each) if each.dtype.kind in "OSU" else each for name, each in values.items()}
    names = pd.Index(text.pop(index).astype(str))
    return pd.DataFrame({name: _short(each) for name, each in text.items()}, index=names)


def _is_column(stored: Any) -> bool:
    return getattr(stored, "ndim", 0) == 1 and stored.dtype.names is None


def _text(values: np.ndarray) -> np.ndarray:
    return np.array([each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values], object)


def _short(values: np.ndarray) -> Any:
    """Return text as categories: labels repeat."""
    return pd.Categorical(values) if values.dtype == object else values
