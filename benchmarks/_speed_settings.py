"""What the speed suite is run with, and the cells it draws.

Settings travel in the environment, so that asv, the runner and the processes that measure memory read the same.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

VARIABLE = "SCFLYFORMER_SPEED"
DATA_SET = "davie_brain_aging"
FEW = 8
"""Cells of a call that only loads what the first call loads."""


@dataclass(frozen=True)
class Settings:
    """What the parts are run with.

    Attributes
    ----------
    data
        Folder that holds ``fly/davie_brain_aging.h5ad``.
    model
        Name or folder of the model.
    cells
        Cells that are embedded; 0 for all of the file.
    threads
        Threads of torch.
    device
        Where networks run.
    quick
        Whether to take sizes that give a look, not figures.
    work
        Folder for what is drawn and made, to be used again by the other processes.
    batch
        Cells a batch of the plain embedding loop.
    """

    data: str = field(default_factory=lambda: os.environ.get("SCFLYFORMER_DATA", "../shared/data"))
    model: str = "fly"
    cells: int = 2000
    threads: int = 2
    device: str = "cpu"
    quick: bool = False
    work: str = field(default_factory=lambda: str(Path(tempfile.gettempdir(), "scflyformer-speed")))
    batch: int = 32

    @classmethod
    def current(cls) -> Settings:
        """Return the settings of this process."""
        return cls(**json.loads(os.environ.get(VARIABLE, "{}")))

    def use(self) -> None:
        """Make these the settings of this process and of those that it starts."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    def some(self, usual: int, quick: int) -> int:
        """Return a size."""
        return quick if self.quick else usual

    def folder(self, n: int) -> Path:
        """Return a folder of data with ``n`` cells drawn at random, in the order of the file; with all for 0."""
        file = Path("fly", f"{DATA_SET}.h5ad")
        whole = Path(self.data, file)
        kept = Path(self.work, f"{n}-cells-{whole.stat().st_mtime_ns}")
        if n == 0:
            return Path(self.data)
        if not (kept / file).exists():
            adata = ad.read_h5ad(whole)
            chosen = np.random.default_rng(0).choice(adata.n_obs, min(n, adata.n_obs), replace=False)
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            partial = (kept / file).with_suffix(f".{os.getpid()}")
            adata[np.sort(chosen)].write_h5ad(partial)
            partial.replace(kept / file)
        return kept

    def draw(self, n: int) -> AnnData:
        """Return the cells of `folder`, counts as CSR."""
        adata = ad.read_h5ad(self.folder(n) / "fly" / f"{DATA_SET}.h5ad")
        adata.X = sparse.csr_matrix(adata.X)
        return adata
