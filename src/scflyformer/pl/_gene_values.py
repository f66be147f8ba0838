"""Expression of single genes, found in the data by any of their names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from scflyformer._settings import settings
from scflyformer.data import _adata
from scflyformer.data._matrix import missing_key
from scflyformer.genes._coverage import place_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse


def find_columns(
    data: AnnData, names: list[str], *, gene_key: str | None, model: str | os.PathLike[str] | None
) -> dict[str, np.ndarray]:
    """Return the columns of `log_expression` that are each gene, by a name in the data or one that the model knows.

    Raises
    ------
    KeyError
        When a gene is not in the data; lists near names.
    """
    own = _adata.unique_gene_names(data, gene_key)[1]
    columns = {name: np.flatnonzero(own == name) for name in names}
    lacking = [name for name, found in columns.items() if not len(found)]
    if lacking:
        from scflyformer import models
        from scflyformer.data._embedding import choose_model
        from scflyformer.genes._resolve import resolve_genes

        vocabulary = (choose_model(data, model) or models.load(settings.model)).vocabulary
        asked = resolve_genes(lacking, vocabulary).index
        there = resolve_genes(own, vocabulary).index
        for name, gene in zip(lacking, asked.tolist(), strict=True):
            columns[name] = np.flatnonzero(there == gene) if gene >= 0 else columns[name]
            if not len(columns[name]):
                raise KeyError(missing_key(name, own.tolist(), what="genes", place=place_of(gene_key)))
    return columns


def gene_values(matrix: sparse.csr_matrix, columns: np.ndarray) -> np.ndarray:
    """Return one gene's log1p expression of each cell; several columns of a gene are added up before the logarithm."""
    if len(columns) == 1:
        return matrix[:, columns].toarray().ravel()
    return np.log1p(np.expm1(matrix[:, columns].toarray().astype(np.float64)).sum(1))
