"""Labels to learn from: which cells have one, and which classes can be learnt and tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer._words import some_names
from scflyformer.data import _adata

if TYPE_CHECKING:
    from anndata import AnnData

UNKNOWN = "Unknown"
MIN_CELLS = 2
"""Cells a class needs to be learnt."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Classes and the cells that have them."""

    classes: np.ndarray  # names in sorted order, object, (n_classes,)
    codes: np.ndarray  # class of each cell, -1 where it has no label to learn from, int64, (n_obs,)


def read_labels(adata: AnnData, label_key: str, *, samples: np.ndarray | None) -> Labels:
    """Read the labels to learn from.

    Cells without a label (missing, or a word such as "Unknown" or "unannotated" in any case) and classes with fewer
    than `MIN_CELLS` cells are left out, and the log says so. Fewer than two classes, or labels that are the same thing
    as the samples, are errors.
    """
    column = _adata.obs_column(adata, label_key, what="label_key")
    text = _adata.labels_of(column)
    named = np.array([label is not None for label in text], dtype=bool)
    counts = pd.Series(text[named]).value_counts()
    rare = sorted(counts.index[counts < MIN_CELLS])
    classes = np.array(sorted(counts.index[counts >= MIN_CELLS]), dtype=object)
    if not named.all():
        _log.info(f"{int((~named).sum())} of {len(text)} cells have no label in obs[{label_key!r}] and teach nothing.")
    if rare:
        _log.warning(
            f"{some_names(rare, 8)}: fewer than {MIN_CELLS} cells in obs[{label_key!r}], not learnt and not scored. "
            f"Merge small classes to keep them."
        )
    if len(classes) < 2:
        present = f"the one class {classes[0]!r}" if len(classes) else "no class"
        without = f" {int((~named).sum())} of {len(text)} cells are without a label or unknown." * (not named.all())
        raise ValueError(
            f"obs[{label_key!r}] holds {present} with at least {MIN_CELLS} cells; expected two classes or more to tell "
            f"apart.{without}"
        )
    codes = np.full(len(text), -1, dtype=np.int64)
    place = {name: code for code, name in enumerate(classes)}
    codes[named] = [place.get(name, -1) for name in text[named]]
    if samples is not None:
        _check_samples(classes, codes, samples, label_key)
    return Labels(classes, codes)


def _check_samples(classes: np.ndarray, codes: np.ndarray, samples: np.ndarray, label_key: str) -> None:
    known = codes >= 0
    pairs = pd.DataFrame({"label": codes[known], "sample": samples[known].astype(str)}).drop_duplicates()
    if pairs["sample"].nunique() < 2:
        raise ValueError(
            "The labelled cells come from one sample; holding out whole samples needs at least two. Leave sample_key "
            "out to split by cell (scores then overestimate transfer to new samples)."
        )
    n_samples = pairs["label"].value_counts()
    single = sorted(n_samples.index[n_samples < 2])
    if len(single) == len(n_samples):
        raise ValueError(
            f"Every class of obs[{label_key!r}] comes from one sample only, so a held-out sample holds no class that "
            f"the others have. Give samples that hold several classes, or leave sample_key out to split by cell (the "
            f"scores then mix the samples' differences with the classes')."
        )
    if single:
        names = some_names(list(classes[single]), 8)
        _log.warning(
            f"{names}: in one sample only. They are learnt, but count as errors where that sample is held out."
        )
