"""The clock that ships: what it is worth, and whose cells it refuses.

``python -m benchmarks.clock.shipped`` prints the share of each data set's cells that ``fly-brain-clock`` dates; ages of
strain DGRP-551 by a clock like it that has learnt from strain w1118 alone, beside a clock learnt in place; and the
score of the shipped clock in libraries that were held out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad
import numpy as np

import scflyformer as sf
from scflyformer.clock._saved import SavedClock
from scflyformer.data._ages import to_target
from scflyformer.data._features import contrast_columns

from ..lib.command import command, markdown_table, new_parser

SETS = {
    "brains, 4 libraries (Baker 2021)": "fly/baker_brain",
    "head nuclei (Fly Cell Atlas)": "fly/fca_head",
    "body nuclei (Fly Cell Atlas)": "fly/fca_body",
    "gut nuclei": "fly/fca_gut_180cells",
    "olfactory neurons": "fly_whole/antenna_orn",
    "midgut (Hung 2020)": "fly_whole/hung_midgut_1923",
    "larval central nervous system": "fly_whole/larval_cns_1406",
}
STRAIN, YOUNG = "w1118", 30


def embedded(file: Path) -> ad.AnnData:
    """Return the cells of a file with the profile code of ``fly``."""
    cells = ad.read_h5ad(file)
    sf.tl.embed(cells, model="fly", pooling="code", gene_key="FBgn")
    return cells


def dated(folder: Path) -> str:
    """Return the table of cells that are dated, by data set."""
    clock = SavedClock.open("fly-brain-clock")
    assert clock.near is not None
    lines = []
    for name, file in SETS.items():
        x = embedded(folder / f"{file}.h5ad").obsm["X_scflyformer"]
        share = clock.near(x[:, contrast_columns(clock.model)]).mean()
        lines.append([name, f"{len(x):,}", f"{share:.1%}", "dated" if share >= 0.5 else "refused"])
    return markdown_table(["cells", "n", "like those of the clock", ""], lines)


def r2(ages: np.ndarray, predicted: np.ndarray) -> float:
    """Return R² of log2(age + 1)."""
    from sklearn.metrics import r2_score

    known = np.isfinite(predicted)
    return float(r2_score(to_target(ages[known], "log"), to_target(np.maximum(predicted[known], 0), "log")))


def strains(folder: Path) -> str:
    """Return the table of ages of one strain by a clock of the other, and by one learnt in place."""
    cells = embedded(folder / "fly" / "davie_brain_aging.h5ad")
    old, new = (cells[(cells.obs["genotype"] == STRAIN) == own].copy() for own in (True, False))
    with tempfile.TemporaryDirectory() as place:
        sf.tl.age_clock(old, sample_key="batch", baselines="none", save=Path(place) / "clock")
        sf.tl.age_clock(new, clock=Path(place) / "clock", key_added="other")
    sf.tl.age_clock(new, sample_key="batch", baselines="none", key_added="own")
    ages = new.obs["age"].to_numpy(dtype=float)
    lines = []
    for words, inside in (("to 30 days", ages <= YOUNG), ("all", ages >= 0)):
        scores = (r2(ages[inside], new.obs[key].to_numpy()[inside]) for key in ("other", "own"))
        lines.append([words, f"{inside.sum():,}", *(f"{score:.3f}" for score in scores)])
    head = ["cells of DGRP-551", "n", f"clock of {STRAIN}", "clock learnt in place, libraries held out"]
    return markdown_table(head, lines)


def main() -> None:
    """Read arguments, date cells and print."""
    args = new_parser(__doc__ or "").parse_args()
    said = f"fly-brain-clock: {SavedClock.open('fly-brain-clock').held_out}."
    print("\n\n".join([f"`{command()}`", said, dated(args.data), strains(args.data)]))


if __name__ == "__main__":
    main()
