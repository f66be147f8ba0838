"""Which libraries no pretraining may see, and the cells that take part in a task."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

EXCLUDE = {
    "batch": [
        "FCA4_Male_Adult_Head1",
        "FCA13_Female_head_adult",
        "FCA16_Male_body_adult",
        "FCA25_Female_body_adult",
        "suffix_7",
    ],
    "genotype": ["DGRP-551"],
}
"""Evaluation libraries of the four large sets."""
WHOLE_EXCLUDE = ["P5", "P6", "P7", "S1_rep1", "sample_brain"]
"""Evaluation libraries of whole transcriptomes, among ``batch``; the gut nuclei are no source at all."""
VALIDATION = ["FCA11_Male_head_adult", "FCA20_Male_body_adult", "w1118_3d_r1"]
"""Libraries that pretraining holds out for its loss."""
N_INNER = 4
"""Folds of whole training libraries, among which hyper-parameters are chosen."""
MOST_DRAWN = 15
"""Drawn cells of a cluster to learn labels from."""
TRAIN_CELLS = 15_000
"""Cells to learn from a set at most, drawn once for everything that is compared."""


def held_out(obs: pd.DataFrame) -> np.ndarray:
    """Return which cells no pretraining may see."""
    return np.any([obs[key].isin(values) for key, values in EXCLUDE.items() if key in obs], axis=0)


def probe_cells(train: np.ndarray, test: np.ndarray, seed: int = 0, n_train: int = TRAIN_CELLS) -> np.ndarray:
    """Return the positions of ``n_train`` training cells at most, drawn at random, and of all test cells."""
    drawn = np.flatnonzero(train)
    if len(drawn) > n_train:
        drawn = np.random.default_rng(seed).choice(drawn, n_train, replace=False)
    return np.sort(np.concatenate([drawn, np.flatnonzero(test)]))


def some_of_each(cells: AnnData, by: list[str], most: int) -> AnnData:
    """Return at most so many cells of each group, drawn at random."""
    drawn = cells.obs.sample(frac=1, random_state=0).groupby(by, observed=True).head(most)
    return cells[cells.obs_names.isin(drawn.index)].copy()


def named_in_both(labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the cells whose label is not a bare number and occurs on both sides."""
    known = np.array([not re.fullmatch(r"\d+", label) for label in labels])
    shared = np.intersect1d(labels[known & test], labels[known & ~test])
    return known & np.isin(labels, shared)
