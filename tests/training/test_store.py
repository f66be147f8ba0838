"""Passing proves: what is written to the token store comes back as a naive ranking gives it, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.training import _store
from scflyformer.training._store import CountWriter, TokenStore


def naive_cell(counts: np.ndarray, medians: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Rank one cell with plain Python: over-expressed first, ties by gene."""
    genes = np.flatnonzero(counts)
    ratio = counts.astype(np.float32) / medians
    order = sorted(genes.tolist(), key=lambda gene: (-ratio[gene], gene))
    scale = medians[genes].sum(dtype=float) / max(counts[genes].sum(), 1)
    return [gene + N_SPECIAL for gene in order], np.log1p(ratio[order] * scale)


@pytest.mark.parametrize("chunk", [4, 16_384])
def test_round_trip_against_naive(make_store, monkeypatch, chunk):
    monkeypatch.setattr(_store, "_CHUNK_CELLS", chunk)
    store, counts = make_store((11, 1, 20), seed=3)
    medians = store.medians
    random = np.random.default_rng(0)
    for cells in (np.arange(32), random.permutation(32), np.array([5, 5, 31]), np.array([], dtype=int)):
        rows = store.rows(cells)
        assert len(rows) == len(cells)
        for place, cell in enumerate(cells):
            span = slice(rows.indptr[place], rows.indptr[place + 1])
            tokens, values = naive_cell(counts[cell], medians)
            assert rows.tokens[span].tolist() == tokens
            np.testing.assert_allclose(rows.values[span], values, rtol=2e-3)
    np.testing.assert_array_equal(store.lengths, (counts > 0).sum(1))
    np.testing.assert_array_equal(store.source, np.repeat([0, 1, 2], [11, 1, 20]))


def test_opened_again_it_is_the_same(make_store):
    store, _ = make_store()
    again = TokenStore(store.folder)
    for name in ("indptr", "source", "panels", "medians", "tokens", "values"):
        np.testing.assert_array_equal(getattr(again, name), getattr(store, name))
    assert len(again) == 50


def test_genes_that_are_not_kept_leave_no_trace(tmp_path):
    counts = np.array([[5, 0, 2, 1], [0, 7, 0, 0], [1, 1, 1, 1]])
    with CountWriter(tmp_path) as writer:
        writer.append(sp.csr_matrix(counts), 0)
        written = writer.finish()
    medians = np.ones(2, np.float32)
    store = written.rank(np.array([3, 0]), medians, np.ones((1, 2), bool))
    rows = store.rows(np.arange(3))
    expected = [naive_cell(cell, medians)[0] for cell in counts[:, [3, 0]]]
    assert [rows.tokens[a:b].tolist() for a, b in zip(rows.indptr, rows.indptr[1:], strict=False)] == expected
    assert store.lengths.tolist() == [2, 0, 2]


@pytest.mark.parametrize(("n_genes", "kind"), [(65_532, np.uint16), (65_533, np.uint32)])
def test_token_ids_take_the_room_they_need(tmp_path, n_genes, kind):
    """The last gene's id is n_genes + 2: two bytes hold it up to 65,535."""
    random = np.random.default_rng(0)
    counts = np.zeros((20, n_genes), dtype=int)
    counts[random.integers(0, 20, 900), random.integers(0, n_genes, 900)] = random.integers(1, 9, 900)
    counts[0, -1] = 3
    with CountWriter(tmp_path) as writer:
        writer.append(sp.csr_matrix(counts), 0)
        written = writer.finish()
    medians = np.ones(n_genes, np.float32)
    store = written.rank(np.arange(n_genes), medians, np.ones((1, n_genes), bool))
    assert store.tokens.dtype == kind
    rows = store.rows(np.arange(20))
    assert rows.tokens.max() == n_genes - 1 + N_SPECIAL
    for cell, dense in enumerate(counts):
        assert rows.tokens[rows.indptr[cell] : rows.indptr[cell + 1]].tolist() == naive_cell(dense, medians)[0]


@pytest.mark.parametrize("filled", [[], [0], [2], [0, 4]])
def test_empty_cells(make_store, filled):
    counts = np.zeros((5, 3), dtype=int)
    counts[filled, 1] = 4
    store, _ = make_store((3, 2), n_genes=3, counts=counts)
    assert np.flatnonzero(store.lengths).tolist() == filled
    rows = store.rows(np.arange(5))
    np.testing.assert_array_equal(rows.lengths, store.lengths)
    assert set(rows.tokens.tolist()) <= {1 + N_SPECIAL}


def test_counts_are_gone_after_ranking(make_store):
    store, _ = make_store()
    assert not [file.name for file in store.folder.iterdir() if file.name in ("genes.bin", "counts.bin")]
