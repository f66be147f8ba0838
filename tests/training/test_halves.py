"""Counts told from values, and split."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows
from scflyformer.training._halves import half_profiles, value_profiles, whole_counts


@pytest.fixture
def stored(make_store):
    """A store with a cell that has nothing and one with large counts, its counts, and all its rows."""
    counts = np.random.default_rng(0).poisson(1.5, (40, 25)) + (np.arange(25) == 3)
    counts[7], counts[9] = 0, np.arange(25) * 40 + 1
    store, _ = make_store((40,), n_genes=25, counts=counts)
    return store, counts, store.rows(np.arange(40))


def test_counts_come_back(stored):
    store, counts, rows = stored
    cell = np.repeat(np.arange(40), rows.lengths)
    found = np.zeros_like(counts)
    found[cell, rows.tokens - N_SPECIAL] = whole_counts(rows, store.medians)
    scale = np.where(counts > 0, counts, counts.max() + 1).min(1, keepdims=True)
    expected = np.rint(counts / scale)
    np.testing.assert_array_equal(found[counts.max(1) < 500], expected[counts.max(1) < 500])
    np.testing.assert_allclose(found[9], expected[9], rtol=3e-3)  # values are kept in half precision


def test_whole_cells_have_the_values_of_the_store(stored):
    store, _, rows = stored
    found = value_profiles(rows, whole_counts(rows, store.medians), store.medians)
    cell = np.repeat(np.arange(40), rows.lengths)
    np.testing.assert_allclose(found[cell, rows.tokens - N_SPECIAL], rows.values, atol=5e-3)
    assert np.count_nonzero(found) == len(rows.tokens)


def test_halves_part_the_counts(stored):
    """Nothing is in both that was one count, and the share is kept."""
    store, _, rows = stored
    first, second = half_profiles(rows, whole_counts(rows, store.medians), store.medians, np.random.default_rng(1), 0.3)
    whole = value_profiles(rows, whole_counts(rows, store.medians), store.medians) > 0
    np.testing.assert_array_equal((first > 0) | (second > 0), whole)
    cell, gene = np.repeat(np.arange(40), rows.lengths), rows.tokens - N_SPECIAL
    single = whole_counts(rows, store.medians) == 1
    assert not (first[cell, gene] > 0)[single & (second[cell, gene] > 0)].any()
    assert 0.2 < (first[cell, gene] > 0)[single].mean() < 0.4


def test_no_cells():
    nothing = TokenRows(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    assert whole_counts(nothing, np.ones(3)).shape == (0,)
