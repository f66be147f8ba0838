"""Files of the published fly atlases, completed to the columns that the tools read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._ages import read_ages
from scflyformer.data._atlas import GROUP_COLUMNS, flybase_ids, libraries
from scflyformer.data._columns import as_text

if TYPE_CHECKING:
    from anndata import AnnData

IN_FILE = "_in_file"
"""What is added to the name of a column of the file that the tools need to have other values."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """A published atlas.

    Attributes
    ----------
    columns
        Names that its files have for `cell_type`, `age`, `sex` and `tissue`, the first that is there.
    stated
        Values of all cells where a file lacks the column.
    """

    name: str
    paper: str
    columns: Mapping[str, tuple[str, ...]]
    stated: Mapping[str, Any]


def require_file(path: str | os.PathLike[str] | None, *, call: str, files: str) -> Path:
    """Return the path of the atlas's file; an error without it says which to fetch, from where, and how to call."""
    again = f"Then call sf.datasets.{call}."
    if path is None:
        raise ValueError(
            f"A file is needed, which is not fetched automatically, as its sha256 is not published. {files} {again}"
        )
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}. {files} {again}")
    if file.suffix == ".gz":
        raise ValueError(f"{file} is packed; expected the h5ad or loom file itself. Unpack it first: gunzip {file}")
    return file


def read_h5ad(file: Path, *, backed: Literal["r"] | None) -> AnnData:
    """Read an h5ad file, also of old versions of anndata, in the mode asked for.

    Where `raw` holds more genes than `X`, which then is of some genes only, `raw` is what is read.
    """
    import anndata

    if backed not in (None, "r"):
        raise ValueError(f"backed={backed!r} is unknown; expected None, or 'r' to leave the matrix on disk.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, and of names that are not unique
            adata = anndata.read_h5ad(file, backed=backed)
            if adata.raw is None or adata.raw.n_vars <= adata.n_vars:
                return adata
            if backed is None:
                from scipy import sparse

                whole = adata.raw.to_adata()
                whole.X = sparse.csr_matrix(whole.X)
                return whole
            adata.file.close()
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a readable h5ad file ({type(error).__name__}: {error}). Fetch it again."
        ) from error
    raise ValueError(
        f"{file} holds all its genes in .raw, stored gene by gene, which cannot be read cell by cell from disk. Leave "
        "backed out, write the result with write_h5ad, and open that file with anndata.read_h5ad(..., backed='r')."
    )


def complete(
    adata: AnnData, atlas: Atlas, *, file: Path, batch_key: str | None, stated: Mapping[str, Any] | None = None
) -> AnnData:
    """Write the columns that the tools read to `obs` and `var`, and where they come from to `uns`; return the object.

    Nothing is written before all is there. A column of the file that has other values is kept, its name with
    ``_in_file`` at the end. ``stated`` are values of all cells beside those of ``atlas``.
    """
    known = {**atlas.stated, **(stated or {})}
    found = {role: next((name for name in names if name in adata.obs), None) for role, names in atlas.columns.items()}
    if lacking := [role for role, name in found.items() if name is None and role not in known]:
        wanted = "; ".join(f"{role} (as {' or '.join(atlas.columns[role])})" for role in lacking)
        raise ValueError(
            f"{file} lacks columns of obs of the {atlas.name}: {wanted}. It has: {', '.join(map(str, adata.obs))}. "
            "Expected a file of that atlas; read others with anndata.read_h5ad."
        )
    columns: dict[str, pd.Series] = {}
    for role, name in found.items():
        if name is None:
            values = np.full(adata.n_obs, known[role], dtype=object)
        elif role == "age":
            values = read_ages(adata, name, target="linear")
        else:
            values = as_text(adata.obs[name])
        kept = values.astype(np.float64) if role == "age" else pd.Categorical(values)
        columns[role] = pd.Series(kept, index=adata.obs_names)
    batches, origin = libraries(adata, batch_key)
    columns["batch"] = pd.Series(pd.Categorical(batches), index=adata.obs_names)
    ids, said = flybase_ids(adata.var) if "FBgn" not in adata.var else (None, "FlyBase ids are in var['FBgn']")

    for role, values in columns.items():
        if role in adata.obs and not _usable(adata.obs[role], values):
            adata.obs[f"{role}{IN_FILE}"] = adata.obs[role]
        if role not in adata.obs or not _usable(adata.obs[role], values):
            adata.obs[role] = values
    if ids is not None:
        adata.var["FBgn"] = ids.astype(object)
    if "source" in adata.uns:
        adata.uns[f"source{IN_FILE}"] = adata.uns["source"]
    sources = {role: name or f"{known[role]}, of all cells" for role, name in found.items()}
    adata.uns["source"] = {
        "atlas": atlas.name, "paper": atlas.paper, "file": file.name, "columns": sources | {"batch": origin},
    }  # fmt: skip
    _log.info(f"{atlas.name}: {adata.n_obs:,} cells × {adata.n_vars:,} genes; libraries by {origin}; {said}.")
    if set(origin.split(" × ")) <= set(GROUP_COLUMNS):
        _log.warning(
            f"{file.name} does not name the library of a cell: obs['batch'] is {origin}, whose cells are held out or "
            "compared together. Where you know the libraries, name their column by batch_key=."
        )
    return adata


def _usable(before: pd.Series, wanted: pd.Series) -> bool:
    """Whether a column of the file has the values that the tools need, and is of numbers where these are."""
    numbers = pd.api.types.is_numeric_dtype
    return (numbers(before.dtype) or not numbers(wanted.dtype)) and bool((as_text(before) == as_text(wanted)).all())
