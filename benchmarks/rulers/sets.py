"""The sets of cells that the rulers are held to, and what the package makes of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scflyformer as sf

from ..annotation.tasks import FLY, SAYS
from ..lib.splits import WHOLE_EXCLUDE, held_out, named_in_both

if TYPE_CHECKING:
    from anndata import AnnData

N_CELLS = 2_500
MODEL, ADAPTED = "fly", "fly, adapted"
HEAD, BODY, BRAIN, NEURONS, SIMULATED = "head", "body", "brain", "olfactory neurons", "simulated brain"
OF_SIMULATION = 1_000


@dataclass(frozen=True, eq=False)
class CellSet:
    """Cells, which of them are scored, the others for what learns without labels; ``note`` is the choice in words."""

    cells: AnnData
    scored: np.ndarray
    note: str

    @property
    def asked(self) -> AnnData:
        """The cells to score."""
        return self.cells[self.scored].copy()

    @property
    def train(self) -> AnnData | None:
        """The cells that `tl.adapt` may learn from, if there are any."""
        return None if self.scored.all() else self.cells[~self.scored].copy()


def drawn(found: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of these positions, drawn at random, in order."""
    return np.sort(np.random.default_rng(0).choice(found, min(most, len(found)), replace=False))


def cell_set(name: str, data: Path, n_cells: int = N_CELLS) -> CellSet:
    """Return a set by name: libraries that no pretraining saw, at most ``n_cells`` of their cells."""
    if name == SIMULATED:
        cells = sf.datasets.fly_brain_simulated(min(n_cells, OF_SIMULATION))
        note = f"`datasets.fly_brain_simulated`, {cells.n_obs:,} cells that were never measured"
        return CellSet(cells, np.ones(cells.n_obs, dtype=bool), note)
    if name == NEURONS:
        cells = sf.datasets.olfactory_neurons()
        scored = cells.obs["batch"].isin(WHOLE_EXCLUDE).to_numpy()
        note = (
            f"{scored.sum()} cells of plates P5 to P7, which no pretraining saw; `tl.adapt` learnt from the "
            f"{(~scored).sum()} of P1 and P2, and the methods that are not of this package from all {cells.n_obs}"
        )
        return CellSet(cells, scored, note)
    short = {HEAD: "head", BODY: "body", BRAIN: "davie"}[name]
    cells = ad.read_h5ad(data / "fly" / f"{FLY[short]}.h5ad")
    test = held_out(cells.obs)
    if name == BRAIN:
        test &= named_in_both(cells.obs["cell_type"].to_numpy(dtype=str), test)
    cells = cells[drawn(np.flatnonzero(test), n_cells)].copy()
    said = "DGRP-551, named types" if name == BRAIN else SAYS[short].removesuffix(" held out")
    note = f"{said}: {cells.n_obs:,} cells of libraries that no pretraining saw"
    return CellSet(cells, np.ones(cells.n_obs, dtype=bool), note)


def embeddings(chosen: CellSet) -> dict[str, np.ndarray]:
    """Return the embedding of all cells by ``fly``, and, where there are cells to adapt it to, by ``fly`` adapted."""
    found = {MODEL: _embedding(chosen.cells, MODEL)}
    if chosen.train is not None:
        with tempfile.TemporaryDirectory() as folder:
            adapted = Path(folder) / "adapted"
            sf.tl.adapt(chosen.train, model=MODEL, out=adapted, gene_key="FBgn")
            found[ADAPTED] = _embedding(chosen.cells, adapted)
    return found


def _embedding(cells: AnnData, model: str | Path) -> np.ndarray:
    fresh = ad.AnnData(cells.X.copy(), var=cells.var[["FBgn"]].copy())
    sf.tl.embed(fresh, model=model, gene_key="FBgn")
    return fresh.obsm["X_scflyformer"]


def write_cells(path: Path, cells: AnnData, representations: dict[str, np.ndarray]) -> None:
    """Write what a ruler reads: counts, ``obs["label"]`` and ``obs["library"]``, representations in `obsm`."""
    obs = pd.DataFrame(
        {"label": cells.obs["cell_type"].to_numpy(dtype=str), "library": cells.obs["batch"].to_numpy(dtype=str)},
        index=[f"cell{number}" for number in range(cells.n_obs)],
    ).astype("category")
    counts = sparse.csr_matrix(cells.X, dtype=np.float32)
    var = pd.DataFrame(index=pd.Index([f"gene{number}" for number in range(cells.n_vars)]))
    ad.AnnData(counts, obs=obs, var=var, obsm=dict(representations)).write_h5ad(path)
