"""Passing proves: medians are exact and non-zero only; other panels neither dilute nor rescale them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scflyformer.training import _medians, _store
from scflyformer.training._medians import combine_medians, source_medians
from scflyformer.training._store import CountWriter


@pytest.fixture
def counted(tmp_path):
    """A store of counts of two sources, 70 and 41 cells over 25 genes, the last never seen, and its dense counts."""
    random = np.random.default_rng(5)
    counts = random.poisson(random.gamma(0.4, 3, 25), (111, 25))
    counts[:, -1] = 0
    counts[[3, 80]] = 0
    with CountWriter(tmp_path) as writer:
        writer.append(sp.csr_matrix(counts[:70]), 0)
        writer.append(sp.csr_matrix(counts[70:]), 1)
        store = writer.finish()
    return store, (counts[:70], counts[70:])


def oracle(counts: np.ndarray) -> np.ndarray:
    scaled = counts / np.maximum(counts.sum(1, keepdims=True), 1) * 10_000
    return np.array([np.median(gene[gene > 0]) if (gene > 0).any() else np.nan for gene in scaled.T])


@pytest.mark.parametrize(("entries", "chunk"), [(64_000_000, 16_384), (30, 7), (1, 50)])
def test_each_source_against_numpy(counted, monkeypatch, entries, chunk):
    """Exact whatever the block of genes and the chunk of cells."""
    monkeypatch.setattr(_medians, "_BLOCK_ENTRIES", entries)
    monkeypatch.setattr(_store, "_CHUNK_CELLS", chunk)
    store, parts = counted
    for number, counts in enumerate(parts):
        medians, n_cells = source_medians(store, number, 25)
        np.testing.assert_allclose(medians, oracle(counts), rtol=1e-6)
        np.testing.assert_array_equal(n_cells, (counts > 0).sum(0))


def test_one_source_keeps_its_medians():
    medians = np.array([[3.0, np.nan, 0.5]])
    np.testing.assert_array_equal(combine_medians(medians, np.array([[9, 0, 2]])), np.float32([3, 1, 0.5]))


def test_scales_of_sources_are_recovered():
    """Each source sees its own genes of one truth, times a factor: the truth comes back in the largest one's scale."""
    random = np.random.default_rng(0)
    truth = random.uniform(0.5, 20, 60)
    factors = np.array([1.7, 0.4, 6.0, 1.0])
    seen = random.random((4, 60)) < 0.6
    seen[0, :40] = True
    medians = np.where(seen, truth * factors[:, None], np.nan)
    n_cells = seen * random.integers(5, 50, (4, 60))
    n_cells[0] *= 40
    found = combine_medians(medians, n_cells)
    covered = seen.any(0)
    np.testing.assert_allclose(found[covered], (truth * factors[0])[covered], rtol=1e-5)
    assert (found[~covered] == 1).all()


def test_order_of_sources_does_not_matter():
    random = np.random.default_rng(1)
    medians = random.uniform(1, 9, (3, 10))
    medians[0, :4] = np.nan
    n_cells = np.isfinite(medians) * random.integers(1, 99, (3, 10))
    order = [2, 0, 1]
    np.testing.assert_allclose(
        combine_medians(medians, n_cells), combine_medians(medians[order], n_cells[order]), rtol=1e-6
    )


def test_a_gene_that_one_source_did_not_measure_is_not_zero_there():
    """The median of a gene that only one source measured is that source's, however many cells the other has."""
    medians = np.array([[2.0, 4.0, 8.0], [2.0, 4.0, np.nan]])
    few, many = [10, 10, 10], [1000, 1000, 0]
    np.testing.assert_allclose(combine_medians(medians, np.array([few, many])), [2, 4, 8])


def test_weights_are_cells():
    medians = np.array([[1.0, 1.0, 1.0, 4.0], [1.0, 1.0, 1.0, 8.0]])
    n_cells = np.array([[100, 100, 100, 30], [10, 10, 10, 10]])
    np.testing.assert_allclose(combine_medians(medians, n_cells)[3], (30 * 4 + 10 * 8) / 40)


def test_sources_without_a_common_gene_stand_side_by_side():
    medians = np.array([[2.0, np.nan], [np.nan, 3.0]])
    np.testing.assert_allclose(combine_medians(medians, np.array([[5, 0], [0, 9]])), [2, 3])
