"""Files of the corpus: opened without reading their values, and hashed."""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from anndata import AnnData

_BLOCK = 1 << 24


def open_file(path: Path, *, mod: str | None, stack: ExitStack) -> AnnData:
    """Open an h5ad file or a zarr store, or a modality of an h5mu; `X` and layers stay on disk.

    Parameters
    ----------
    path
        The file or store.
    mod
        Modality, where it holds a MuData.
    stack
        Closes the file when it ends.

    Raises
    ------
    FileNotFoundError
        When there is nothing at ``path``.
    KeyError
        When there is no modality ``mod``.
    ValueError
        When it is neither kind of file, or ``mod`` does not go with it.
    """
    from scflyformer.data._adata import open_data
    from scflyformer.data._matrix import missing_key

    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; give the path of an h5ad file or a zarr store.")
    try:
        group = _open_group(path, stack)
        if group.attrs.get("encoding-type") != "MuData":
            return open_data(_open_lazily(group, path, stack), mod=mod)
        names = list(group["mod"])
        if mod in names:
            return open_data(_open_lazily(group["mod"][mod], path, stack))
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a readable h5ad file or zarr store ({type(error).__name__}: {error}). "
            "Give a file that anndata.read_h5ad or anndata.read_zarr opens."
        ) from error
    if mod is None:
        raise ValueError(f"{path} holds a MuData; name the modality with counts by mod=, one of {names}.")
    raise KeyError(missing_key(mod, names, what="mod", place="mod"))


def _open_group(path: Path, stack: ExitStack) -> Any:
    if path.is_dir():
        import zarr

        return zarr.open_group(path, mode="r")
    import h5py

    return stack.enter_context(h5py.File(path, "r"))


def _open_lazily(group: Any, path: Path, stack: ExitStack) -> AnnData:
    import anndata
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are not unique, or no text, are the user's affair
        if group.attrs.get("encoding-type") != "anndata":  # written before anndata 0.8
            adata = anndata.read_h5ad(path, backed="r")
            stack.callback(adata.file.close)
            return adata
        layers = {name: _lazy(group["layers"][name]) for name in group.get("layers", ())}
        return anndata.AnnData(
            X=_lazy(group["X"]) if "X" in group else None,
            obs=read_elem(group["obs"]),
            var=read_elem(group["var"]),
            layers={name: layer for name, layer in layers.items() if layer is not None},
        )


def _lazy(stored: Any) -> Any:
    """Return a matrix on disk as AnnData takes it; None for what is no matrix."""
    from anndata.io import sparse_dataset

    if stored.attrs.get("encoding-type") in ("csr_matrix", "csc_matrix"):
        return sparse_dataset(stored)
    return stored if len(getattr(stored, "shape", ())) == 2 else None


def file_hash(path: Path) -> str:
    """Return the sha256 of a file, or of all files of a store with their names."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def object_hash(adata: AnnData, layer: str | None) -> str:
    """Return the sha256 of the names and values of an object in memory; a change of sparse format changes it."""
    from scflyformer.data._matrix import raw_chunks

    digest = hashlib.sha256("\0".join([*map(str, adata.var_names), *map(str, adata.obs_names)]).encode())
    for rows in raw_chunks(adata, layer):
        for part in rows:
            digest.update(part.tobytes())
    return digest.hexdigest()
