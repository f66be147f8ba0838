"""Cells in which genes are deleted, and the cells around them from which simpler predictions are fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np

from scflyformer.data import _adata
from scflyformer.data._reading import Reading

from ..lib.splits import WHOLE_EXCLUDE, held_out

if TYPE_CHECKING:
    from pathlib import Path

    from scipy import sparse

    from scflyformer.models import Model
    from scflyformer.tokens._rows import TokenRows

MOST = 3000
"""Cells of a set that are read at most."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells: ranked, their log-normalised expression, which vocabulary gene each column is, and which may be edited."""

    rows: TokenRows
    expression: sparse.csr_matrix
    genes: np.ndarray
    edited: np.ndarray

    @cached_property
    def detection(self) -> np.ndarray:
        """Share of the cells that express each gene, shape (n_genes,)."""
        return np.asarray((self.expression > 0).mean(0)).ravel()

    @cached_property
    def edited_detection(self) -> np.ndarray:
        """Share of the cells to edit that express each gene, shape (n_genes,)."""
        return np.asarray((self.expression[self.edited] > 0).mean(0)).ravel()

    @property
    def edited_rows(self) -> TokenRows:
        """The ranked cells to edit."""
        return self.rows.take(self.edited)


def read_cells(
    path: Path, model: Model, *, label: str | None = None, unseen: bool = True, n_edited: int | None = None,
    most: int = MOST, seed: int = 0,
) -> Cells:  # fmt: skip
    """Read at most ``most`` cells of a type, or of all, drawn at random, with the genes that the model knows.

    ``n_edited`` of them at most may be edited, all where `None`. With ``unseen`` they come from the libraries that no
    pretraining has seen, where the file has such libraries; a file without them is no source of pretraining.
    """
    adata = ad.read_h5ad(path)
    inside = np.arange(len(adata)) if label is None else np.flatnonzero(adata.obs["cell_type"] == label)
    if not len(inside):
        raise ValueError(f"{path.name} has no cell of type {label!r}.")
    obs = adata.obs.iloc[inside]
    aside = held_out(obs) | obs["batch"].isin(WHOLE_EXCLUDE).to_numpy()
    first = inside[aside] if unseen and aside.any() else inside
    random = np.random.default_rng(seed)
    chosen = random.permutation(first)[: min(n_edited or most, most)]
    others = random.permutation(np.setdiff1d(inside, chosen))[: most - len(chosen)]
    drawn = np.sort(np.concatenate([chosen, others]))
    some = adata[drawn].copy()
    reading = Reading(gene_key="FBgn")
    rows, _ = _adata.token_rows(some, model, reading, progress=False)
    expression, names = _adata.log_expression(some, reading, model=model)
    genes = np.flatnonzero(np.isin(model.vocabulary.gene_ids.astype(str), names.astype(str)))
    return Cells(rows, expression, genes, np.flatnonzero(np.isin(drawn, chosen)))
