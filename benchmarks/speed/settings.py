"""What the speed suite is run with, and the cells it draws."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anndata as ad
import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

    from .geneformer_process import Checkout

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What the parts are run with.

    ``cells`` are those that are embedded, 0 for all of the file; ``quick`` takes sizes that give a look, not figures;
    ``name`` is the set of cells; ``work`` is a folder for what is drawn and made, to be used again by other processes;
    ``batch`` are the cells a batch of the plain embedding loop; ``geneformer`` is a checkout to compare with.
    """

    data: Path
    work: Path
    model: str = "fly"
    cells: int = 2000
    threads: int = 2
    device: str = "cpu"
    quick: bool = False
    name: str = "davie_brain_aging"
    batch: int = 32
    geneformer: Checkout | None = None

    def some(self, usual: T, quick: T) -> T:
        """Return a size, or sizes."""
        return quick if self.quick else usual

    def file(self, n: int) -> Path:
        """Return a file of ``n`` cells drawn at random, in the order of the whole file; that file itself for 0."""
        whole = self.data / "fly" / f"{self.name}.h5ad"
        kept = self.work / f"{n}-cells-{self.name}-{whole.stat().st_mtime_ns}.h5ad"
        if n == 0:
            return whole
        if not kept.exists():
            adata = ad.read_h5ad(whole)
            chosen = np.random.default_rng(0).choice(adata.n_obs, min(n, adata.n_obs), replace=False)
            partial = kept.with_suffix(f".{os.getpid()}")
            adata[np.sort(chosen)].write_h5ad(partial)
            partial.replace(kept)
        return kept

    def draw(self, n: int) -> AnnData:
        """Return the cells of `file`, counts as CSR."""
        adata = ad.read_h5ad(self.file(n))
        adata.X = sparse.csr_matrix(adata.X)
        return adata
