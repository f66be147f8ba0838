"""An object written to disk and read again."""

from __future__ import annotations

from pathlib import Path

import anndata as ad


def stored(adata: ad.AnnData, path: Path) -> ad.AnnData:
    """Write an object to an h5ad or zarr path, as its suffix says, and return what is read back."""
    if path.suffix == ".h5ad":
        adata.write_h5ad(path)
        return ad.read_h5ad(path)
    adata.write_zarr(path)
    return ad.read_zarr(path)
