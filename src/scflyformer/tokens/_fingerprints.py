"""Fingerprints of cells: which of a few genes a cell expresses, as one number.

They do not depend on the scale of the values, nor on the order of cells and genes, nor on any other gene: a cell has
the same fingerprint as counts and as log1p of normalised counts, in a panel and in its whole transcriptome.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from scipy import sparse

N_GENES = 256
"""Genes that a fingerprint looks at: no two of 154,745 fly cells are alike (`benchmarks.annotation.contamination`)."""
LEAST = 20
"""Genes of these that a cell must express, and must not express, to have a fingerprint: with fewer, different cells
are alike."""


def gene_keys(gene_ids: Iterable[str], salt: bytes) -> np.ndarray:
    """Return a number of 64 random-like bits for each gene, uint64, shape (n_genes,)."""
    digests = [blake2b(str(gene).encode(), digest_size=8, key=salt).digest() for gene in gene_ids]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def telling_genes(n_expressing: np.ndarray, n_cells: int, measured: np.ndarray) -> np.ndarray:
    """Return the positions, ascending, of up to `N_GENES` measured genes that nearest to half of the cells express.

    ``n_expressing`` are the cells that express each gene, ``measured`` which genes were measured, shape (n_genes,).
    """
    candidates = np.flatnonzero(measured)
    distance = np.abs(2 * n_expressing[candidates] - n_cells)
    return np.sort(candidates[np.argsort(distance, kind="stable")[:N_GENES]])


def fingerprints(
    indptr: np.ndarray, genes: np.ndarray, keys: np.ndarray, chosen: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return fingerprints of cells for one choice of genes after the other, and which of them count.

    ``genes`` are the positions of the genes that each cell expresses, each once, row after row as ``indptr`` says;
    ``keys`` as from :func:`gene_keys`; ``chosen`` are positions of genes. The first result is the sum of the keys of
    the chosen genes that a cell expresses, modulo 2^64, uint64; the second whether it expresses neither too few nor too
    many of them, bool; both of shape (n_cells, len(chosen)).
    """
    weights = np.zeros((len(keys), 2 * len(chosen)), dtype=np.uint64)
    for number, positions in enumerate(chosen):
        weights[positions, number] = keys[positions]
        weights[positions, len(chosen) + number] = 1
    ones = np.ones(len(genes), dtype=np.uint64)
    found = sparse.csr_matrix((ones, genes, indptr), shape=(len(indptr) - 1, len(keys))) @ weights
    sums, n_expressed = found[:, : len(chosen)], found[:, len(chosen) :].astype(np.int64)
    sizes = np.array([len(positions) for positions in chosen], dtype=np.int64)
    return sums, (n_expressed >= LEAST) & (n_expressed <= sizes - LEAST)
