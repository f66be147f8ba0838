"""Results as tidy data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ._annotation_df import annotation_df as annotation_df
    from ._clock_df import clock_df as clock_df
    from ._clock_genes_df import clock_genes_df as clock_genes_df
    from ._gene_embeddings import gene_embeddings as gene_embeddings
    from ._perturb_df import perturb_df as perturb_df

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={
        "annotation_df": "_annotation_df",
        "clock_df": "_clock_df",
        "clock_genes_df": "_clock_genes_df",
        "gene_embeddings": "_gene_embeddings",
        "perturb_df": "_perturb_df",
    },
)
