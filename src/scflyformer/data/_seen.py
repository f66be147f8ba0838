"""What the tools say where cells were among those that a model, a classifier or a clock has learnt from."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scflyformer import _log
from scflyformer.data._freshness import few_cells
from scflyformer.data._training_cells import compare, seen_cells
from scflyformer.models._manifest import UNLABELLED, Manifest
from scflyformer.models._shipped import readout_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData

    from scflyformer.data._reading import Reading
    from scflyformer.models import Model
    from scflyformer.models._manifest import Use

SAMPLE = 5_000
"""Cells that are looked at."""
CLEAR = 0.01
"""Share of cells seen from which there is something to say."""


def seen_share(adata: AnnData, folder: Path, model: Model, uses: Sequence[Use], reading: Reading) -> float | None:
    """Return the share of an object's cells that the sets of these uses in a folder hold, 0 to 1.

    ``model`` is the one whose genes they name. Of many cells `SAMPLE` are looked at. `None` where it cannot be told:
    without a list of training cells, or where the values are no expression.
    """
    manifest = Manifest.read(folder, model.vocabulary.n_genes)
    if manifest is None or not (wanted := manifest.of_use(uses)).sets:
        return None
    if adata.n_obs > SAMPLE:
        drawn = np.linspace(0, adata.n_obs - 1, SAMPLE).astype(np.int64)
        adata, layer = few_cells(adata, drawn, reading.layer)
        reading = replace(reading, layer=layer)
    try:
        matches = compare(adata, wanted, model, reading)
    except (ValueError, KeyError, OSError):  # such as scaled values, where the embedding is used as it is
        return None
    if not any(each.n_compared for each in matches):
        return None
    return float(seen_cells(matches, adata.n_obs).mean())


def warn_of_seen(
    adata: AnnData, name: str | os.PathLike[str], model: Model, use: Use, reading: Reading, *, tool: str
) -> dict[str, float]:
    """Warn where cells are those that a classifier or a clock has learnt from; return what is to be recorded of it.

    ``name`` is that of one that ships, or its folder; ``model`` the model that it reads.
    """
    share = seen_share(adata, readout_folder(name, model), model, (use,), reading)
    if share is None:
        return {}
    if share >= CLEAR:
        _log.warning(
            f"{tool}: {os.fspath(name)!r} has learnt from {share:.0%} of these cells, with their {use}, so results on "
            "them say little of new cells; models.contamination tells which they are."
        )
    return {"training_seen": share}


def note_seen(adata: AnnData, model: Model | None, reading: Reading, *, tool: str) -> dict[str, float]:
    """Log where cells are those that a model was pretrained on; return what is to be recorded of it."""
    share = None
    if model is not None:
        share = seen_share(adata, model.path, model, UNLABELLED, reading)
    if model is None or share is None:
        return {}
    if share >= CLEAR:
        _log.info(
            f"{tool}: model {model.name!r} was trained on {share:.0%} of these cells, without labels; scores on cells "
            "that it has not seen may be lower."
        )
    return {"pretraining_seen": share}
