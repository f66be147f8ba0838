"""Train the clock that ships, ``fly-brain-clock``: ``python -m tools.train_clock``.

It learns from all libraries of Davie 2018 (adult brains of two strains, 0 to 50 days) and reads the profile code of
``fly``. What is written is the readout without the model: weights, what tells brain cells from others, and a card.
``python -m tools.cell_manifests`` then adds the list of training cells.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np

import scflyformer as sf
from benchmarks.lib.command import new_parser
from scflyformer.clock._saved import FILE, NEAR, SavedClock
from scflyformer.data._features import contrast_columns
from scflyformer.models._save import to_json
from scflyformer.models._shipped import FOLDER
from scflyformer.stats._novelty import NearCells
from tools.readouts import write_readout

NAME = "fly-brain-clock"
SHARE = 0.999
"""Share of held-out brain cells that are to count as such."""


def brain_cells(folder: Path) -> ad.AnnData:
    """Return the cells of all libraries, embedded."""
    cells = ad.read_h5ad(folder / "fly" / "davie_brain_aging.h5ad")
    sf.tl.embed(cells, model="fly", pooling="code", gene_key="FBgn")
    return cells


def near_cells(cells: ad.AnnData, model: sf.models.Model) -> NearCells:
    """Return what tells brain cells from others: how far those of held-out libraries are from the clusters."""
    x = cells.obsm["X_scflyformer"][:, contrast_columns(model)]
    clusters, libraries = (
        np.unique(cells.obs[key].astype(str), return_inverse=True)[1] for key in ("cell_type", "batch")
    )
    return NearCells.fit(x, clusters, libraries, share=SHARE)


def main() -> None:
    """Read arguments and train."""
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to put the folder (default: in the package)")
    args = parser.parse_args()
    cells = brain_cells(args.data)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / NAME
        sf.tl.age_clock(cells, sample_key="batch", baselines="none", save=saved)
        content, tensors = json.loads((saved / FILE).read_text()), sf.models.load(saved).tensors("clock.")
        near = near_cells(cells, SavedClock.open(saved).model)
    parts = (near.nearest.whiten, near.nearest.centres, np.array([near.limit]))
    tensors |= dict(zip(NEAR, parts, strict=True))
    row = next(row for row in content["results"] if row["features"] == "embedding")
    card = (
        f"# {NAME}\n\nAges of cells of adult fly brains in days, read off the profile code of the model `fly`.\n\n"
        f"Learnt from {row['n_cells']:,} cells of {row['n_samples']} libraries of two strains, 0 to 50 days (Davie "
        "2018). "
        f"Whole libraries held out: R² {row['r2']:.3f} on {row['target']}, mean absolute error {row['mae']:.1f} days. "
        "Each library has one age, and 50 days are in one library, so that the age and the library can only be told "
        "apart by held-out libraries.\n\n"
        "`python -m tools.train_clock` makes this folder; `sf.tl.age_clock(adata)` uses it where cells have no ages.\n"
    )
    write_readout(args.out / NAME, FILE, to_json(content), tensors, card)
    print(card)


if __name__ == "__main__":
    main()
