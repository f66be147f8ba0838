"""Gene medians of a corpus whose sources measured different genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from scflyformer.training._store import CountStore

PER = 10_000
"""Counts are scaled to this total over the genes that a source measured."""
_BLOCK_ENTRIES = 16_000_000


def source_medians(store: CountStore, source: int, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-zero median of counts per 10,000 of each gene in one source, and the cells that express it.

    Medians are NaN where no cell expresses the gene. They are exact: genes are taken in blocks, so that memory holds a
    bounded number of entries.
    """
    n_cells = np.zeros(n_genes, dtype=np.int64)
    for _, _, genes, _ in store.chunks(source):
        n_cells += np.bincount(genes, minlength=n_genes)
    medians = np.full(n_genes, np.nan)
    for block in np.split(np.arange(n_genes), np.flatnonzero(np.diff(np.cumsum(n_cells) // _BLOCK_ENTRIES)) + 1):
        found: list[list[np.ndarray]] = [[] for _ in block]
        for _, indptr, genes, counts in store.chunks(source):
            cell = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
            scale = PER / np.maximum(np.bincount(cell, weights=counts, minlength=len(indptr) - 1), 1)
            scaled = (counts * scale[cell]).astype(np.float32)
            rows = sparse.csr_matrix((scaled, genes, indptr), shape=(len(indptr) - 1, n_genes))
            columns = rows[:, block[0] : block[-1] + 1].tocsc()
            for own, values in zip(found, np.split(columns.data, columns.indptr[1:-1]), strict=True):
                own.append(values)
        for gene, parts in zip(block, found, strict=True):
            if n_cells[gene]:
                medians[gene] = np.median(np.concatenate(parts))
    return medians, n_cells


def combine_medians(medians: np.ndarray, n_cells: np.ndarray, *, first: int | None = None) -> np.ndarray:
    """Bring the medians of several sources to one scale and average them.

    Sources whose panels differ have totals over different genes, so their scales differ. Starting from the source with
    the most expressing entries, each further source is divided by the median ratio of its medians to those so far over
    the genes they share; then each gene's medians are averaged, weighted by the cells that express it. A source
    without the gene says nothing about it.

    ``medians`` (NaN where not measured or never seen) and ``n_cells`` have shape (n_sources, n_genes). With ``first``
    it starts from that source, whose scale it is then. Return one median a gene, float32; 1 where no source saw it.
    """
    weight_sum = np.zeros(medians.shape[1])
    weighted = np.zeros(medians.shape[1])
    order = np.argsort(-n_cells.sum(1), kind="stable")
    if first is not None:
        order = np.concatenate([[first], order[order != first]])
    for source in order:
        seen = np.isfinite(medians[source])
        shared = seen & (weight_sum > 0)
        so_far = weighted[shared] / weight_sum[shared]
        scale = np.median(medians[source, shared] / so_far) if shared.any() else 1.0
        weighted[seen] += n_cells[source, seen] * medians[source, seen] / scale
        weight_sum[seen] += n_cells[source, seen]
    return np.where(weight_sum > 0, weighted / np.maximum(weight_sum, 1), 1.0).astype(np.float32)


def rounded(medians: np.ndarray) -> np.ndarray:
    """Return medians as ``vocab.tsv`` holds them: six significant digits, float32."""
    return np.array([float(f"{median:.6g}") for median in medians], dtype=np.float32)
