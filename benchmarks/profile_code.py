"""Which parts make up the embedding? Parts of the profile code × tasks on validation libraries, never on test ones.

``python benchmarks/profile_code.py`` fits directions of expression, 256 to 1,024 of them, and the contrast to nuclei
and whole cells that are neither evaluation libraries, nor fca_head FCA5 and FCA14, nor any cell of davie. Then
neighbours are compared in FCA5 and FCA14, and neighbours and ages in davie's w1118 by library: a strain and a set that
no part has seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import scanpy as sc
from _bench import held_out, named, probe_cells
from _probing import Split, Task, probed
from _report import report
from _representations import Data, Expression, Fit, Part, Pca, Representation
from pretrain_fly import EXCLUDE, add_data_argument

import scflyformer as sf
from scflyformer.stats._splits import sample_folds

VALIDATION = ["FCA5_Male_Adult_Head2", "FCA14_Female_head_adult"]
SETS = ("fca_head", "fca_body", "baker_brain")
N_DIRECTIONS = (256, 512, 768, 1024)
SIZE = 256
"""Directions that the contrast reads, and its width."""


def fitted(data: Path, work: Path, n_directions: int, code_epochs: int) -> Path:
    """Return a model with that many directions, whose transformer is a token one."""
    out = work / f"code-{n_directions}-{code_epochs}"
    if not (out / "model.safetensors").exists():
        options = sf.tl.PretrainOptions(
            hidden_size=32, n_layers=1, n_heads=1, epochs=1e-3, code_size=SIZE, n_directions=n_directions,
            code_epochs=code_epochs,
        )  # fmt: skip
        with sf.settings.override(device="cpu"):
            sf.tl.pretrain(
                [data / "fly" / f"{name}.h5ad" for name in SETS], out=out, options=options,
                exclude={"batch": EXCLUDE["batch"] + VALIDATION}, sample_key="batch", gene_key="FBgn",
            )  # fmt: skip
    return out


def parts(data: Path, work: Path) -> list[Representation]:
    """Return the columns of the table, the one that the others are subtracted from first."""
    width = 32
    columns: list[Representation] = []
    for n in N_DIRECTIONS:
        epochs = 10 if n == 768 else 0
        model = fitted(data, work, n, epochs)
        columns.append(Part(work, model, f"{n:,} directions", slice(width, width + n)))
        if epochs:
            columns.insert(0, Part(work, model, "768 directions and contrast", slice(width, width + n + SIZE)))
            columns.append(Part(work, model, "contrast alone", slice(width + n, width + n + SIZE)))
    return [*columns, Pca(work), Expression(work)]


def tasks(folder: Path, seed: int = 0) -> list[Task]:
    """Return neighbours in head, and neighbours and ages in w1118, on whole validation libraries."""

    def held(obs: Any) -> np.ndarray:
        return obs["batch"].isin(VALIDATION).to_numpy()

    def seen(obs: Any) -> np.ndarray:
        return ~(held_out(obs) | held(obs))

    head = Data(folder / "fly" / "fca_head.h5ad", lambda obs: probe_cells(seen(obs), held(obs), seed))
    test = held(head.obs)
    fit = Fit("validation", seen(head.adata.obs))
    labels = np.unique(head.obs["cell_type"].astype(str), return_inverse=True)[1]
    split = [Split(fit, np.flatnonzero(~test), np.flatnonzero(test))]
    every = {"": np.ones(int(test.sum()), dtype=bool)}
    found = [Task("head neighbours", "neighbours", head, labels, split, every, "FCA5, FCA14")]

    davie = Data(folder / "fly" / "davie_brain_aging.h5ad", lambda obs: np.flatnonzero(obs["genotype"] == "w1118"))
    target = np.log2(davie.obs["age"].to_numpy(dtype=float) + 1)
    folds = sample_folds(davie.libraries, values=target, n_splits=3)
    strain = (davie.adata.obs["genotype"] == "w1118").to_numpy()
    masks = []
    for fold in range(3):
        mask = strain.copy()
        mask[davie.used] = folds != fold
        masks.append(mask)
    text = davie.obs["cell_type"].to_numpy(dtype=str)
    known = named(text)
    types = np.unique(np.where(known, text, ""), return_inverse=True)[1]
    for name, kind, values, keep in (
        ("w1118 ages", "age", target, np.ones(len(target), dtype=bool)),
        ("w1118 neighbours", "neighbours", types, known),
    ):
        splits = [
            Split(Fit(f"w1118-{f}", masks[f]), np.flatnonzero(keep & (folds != f)), np.flatnonzero(keep & (folds == f)))
            for f in range(3)
        ]
        found.append(Task(name, kind, davie, values, splits, {"": np.ones(int(keep.sum()), dtype=bool)}, "by library"))
    return found


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--work", type=Path, default=Path("profile-code-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    args = parser.parse_args()
    sc.settings.verbosity = 0
    columns = parts(args.data, args.work)
    results = [row for task in tasks(args.data) for row in probed(task, columns, args.work, n_boot=args.n_boot)]
    report(results, columns[0].name, "Parts of the profile code on validation libraries", args.out, columns="part")


if __name__ == "__main__":
    main()
