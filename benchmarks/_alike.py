"""Models pretrained like another on some of the cells: shares of all, or one platform alone."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _bench import NUCLEI, held_out
from _representations import Frozen
from pretrain_fly import SETS, VALIDATION

import scflyformer as sf

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHARES = (0.1, 0.3, 1.0)
CORPORA = {"all": SETS, "nuclei": NUCLEI, "whole-cells": tuple(name for name in SETS if name not in NUCLEI)}
"""Short name → sets to pretrain on."""


def subset(data: Path, work: Path, sets: Sequence[str], share: float, seed: int = 0) -> list[Path]:
    """Write the pretraining cells of some sets, of each training library a random share, into a folder of files.

    Cells are drawn whole. Libraries that pretraining holds out for its loss stay complete, the evaluation libraries are
    left out.
    """
    folder = work / "subsets" / f"{share:g}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in sets:
        path = folder / f"{name}.h5ad"
        if not path.exists():
            adata = ad.read_h5ad(data / "fly" / f"{name}.h5ad")
            drawn = np.random.default_rng(seed).random(adata.n_obs) < share
            keep = ~held_out(adata.obs) & (drawn | adata.obs["batch"].isin(VALIDATION).to_numpy())
            adata[keep].copy().write_h5ad(path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)
        paths.append(path)
    return paths


def n_tokens(paths: Sequence[Path]) -> int:
    """Return the expressed genes, over all cells, of some files, less the libraries held out for the loss."""
    total = 0
    for path in paths:
        adata = ad.read_h5ad(path)
        total += adata.X[~adata.obs["batch"].isin(VALIDATION).to_numpy()].nnz
    return total


def pretrain_alike(data: Path, work: Path, out: Path, like: dict[str, Any], *, sets: Sequence[str], share: float,
                   epochs: float) -> Path:  # fmt: skip
    """Pretrain on some of the cells with the options of ``like``, for as many steps as ``epochs`` passes over all take.

    Parameters
    ----------
    like
        ``provenance["options"]`` of a model.
    """
    if (out / "model.safetensors").exists():
        return out
    paths = subset(data, work, sets, share)
    passes = epochs * n_tokens(subset(data, work, SETS, 1.0)) / n_tokens(paths)
    known = {field.name for field in fields(sf.tl.PretrainOptions)}
    options = {key: value for key, value in like.items() if key in known} | {"epochs": passes}
    if "code_epochs" in options:
        options["code_epochs"] = max(round(options["code_epochs"] * passes / epochs), 1)
    there = pd.concat([ad.read_h5ad(path, backed="r").obs["batch"].astype(str) for path in paths]).unique()
    with sf.settings.override(dtype=like.get("dtype", "auto")):
        sf.tl.pretrain(
            paths,
            out=out,
            sample_key="batch",
            validation=[name for name in VALIDATION if name in there],
            gene_key="FBgn",
            options=sf.tl.PretrainOptions(**options),
            weights="float16",
            seed=like.get("seed", 0),
        )
    return out


def cases(kind: str) -> dict[str, tuple[str, float]]:
    """Return the columns of ``--curve`` or ``--leave-out-platform``: name → corpus and share, all the cells first."""
    if kind == "curve":
        return {f"{share:.0%} of the cells": ("all", share) for share in SHARES[::-1]}
    return {
        "both platforms": ("all", 1.0),
        "without nuclei": ("whole-cells", 1.0),
        "without whole cells": ("nuclei", 1.0),
    }


def trained(main: Frozen, kind: str, given: Sequence[str], *, data: Path, work: Path, epochs: float) -> list[Frozen]:
    """Return the columns of ``--curve`` or ``--leave-out-platform``, trained where they are not given.

    Folders are named after what they were trained on, so that a training which both options ask for is done once.
    """
    asked = cases(kind)
    if given and len(given) != len(asked):
        raise SystemExit(f"--{kind} takes no folder or {len(asked)}, in this order: {', '.join(asked)}.")
    if given:
        return [Frozen(work, path, name, dtype=main.dtype) for name, path in zip(asked, given, strict=True)]
    like = main.model.provenance["options"]
    columns = []
    for name, (corpus, share) in asked.items():
        out = work / "alike" / f"{main.model.sha256[:12]}-{epochs:g}" / f"{corpus}-{share:g}"
        pretrain_alike(data, work, out, like, sets=CORPORA[corpus], share=share, epochs=epochs)
        columns.append(Frozen(work, out, name, dtype=main.dtype))
    return columns
