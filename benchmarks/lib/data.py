"""One file of cells, and those of it that may be learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np

from scflyformer.data import _adata
from scflyformer.training._sources import file_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scipy import sparse


@dataclass(frozen=True)
class Fit:
    """The cells that a representation may learn from: a name for files, and a mask over the whole file."""

    name: str
    cells: np.ndarray


class Data:
    """One file of cells, of which ``used`` take part in probes; every array below has one entry a used cell."""

    def __init__(self, path: Path, used: Callable[[Any], np.ndarray]) -> None:
        self.name = path.stem
        self.sha256 = file_hash(path)
        self.adata = ad.read_h5ad(path)
        self.used = used(self.adata.obs)
        self.obs = self.adata.obs.iloc[self.used]
        self.key = sha256(self.sha256.encode() + self.used.tobytes()).hexdigest()[:8]

    @property
    def libraries(self) -> np.ndarray:
        """Library of each used cell."""
        return self.obs["batch"].to_numpy(dtype=str)

    @cached_property
    def expression(self) -> sparse.csr_matrix:
        """log1p of counts per 10,000 of all cells of the file."""
        return _adata.log_expression(self.adata)[0]
