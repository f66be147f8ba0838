"""What is known of the states before anything is perturbed: whether they can be told apart, and by which genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.data._tables import text_index
from scflyformer.perturbation._separability import separability

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.models import Model
    from scflyformer.perturbation._cells import EmbeddedCells
    from scflyformer.perturbation._plan import Group


def separability_table(groups: list[Group], cells: EmbeddedCells, *, seed: int) -> pd.DataFrame:
    """Return how well held-out start and goal cells of each group are told apart by the embedding."""
    rows = []
    for group in groups:
        sides = group.start, group.goal
        found = separability(
            cells.vectors[group.start], cells.vectors[group.goal], tuple(cells.samples[side] for side in sides),
            tuple(cells.names[side].astype(str) for side in sides), seed=seed,
        )  # fmt: skip
        rows.append(
            {
                "group": group.name,
                "auroc": found.auroc,
                "ci_low": found.low,
                "ci_high": found.high,
                "held_out": found.held_out,
                "n_start": len(group.start),
                "n_goal": len(group.goal),
                "interpretable": found.interpretable,
            }
        )
    return text_index(pd.DataFrame(rows))


def log_fold_changes(
    adata: AnnData, groups: list[Group], samples: np.ndarray, model: Model, reading: Reading
) -> np.ndarray:
    """Return log2 of goal over start expression of every gene of the model.

    Returns
    -------
    Of the mean over sample means of log1p of counts per 10,000, taken out of the logarithm, as
    :func:`scanpy.tl.rank_genes_groups` does; float64, shape (n_groups, n_genes); NaN for a gene that was not measured.
    """
    matrix, gene_ids = _adata.log_expression(adata, reading, model=model)
    measured = np.isin(model.vocabulary.gene_ids, gene_ids)  # both in vocabulary order
    out = np.full((len(groups), len(measured)), np.nan)
    for number, group in enumerate(groups):
        level = []
        for cells in (group.start, group.goal):
            _, code, size = np.unique(samples[cells].astype(str), return_inverse=True, return_counts=True)
            level.append(np.expm1(matrix[cells].T @ (1 / (size[code] * len(size)))))
        out[number, measured] = np.log2((level[1] + 1e-9) / (level[0] + 1e-9))
    return out
