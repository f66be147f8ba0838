"""The packed-key ranking equals a plain sort of each cell, ties and empty cells included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rank import rank_tokens

N_GENES = 12


@st.composite
def cell_lists(draw):
    """Cells as lists of (gene, count), genes in any order, some cells empty."""
    genes = st.lists(st.integers(0, N_GENES - 1), unique=True, max_size=N_GENES)
    cells = draw(st.lists(genes, min_size=1, max_size=8))
    counts = st.integers(1, 6)
    return [[(gene, draw(counts)) for gene in cell] for cell in cells]


def arrays(cells):
    flat = [entry for cell in cells for entry in cell]
    indptr = np.cumsum([0] + [len(cell) for cell in cells])
    return indptr, np.array([g for g, _ in flat], np.int32), np.array([c for _, c in flat], np.float32)


medians = st.lists(st.sampled_from([0.1, 0.3, 0.5, 1, 1.5, 2, 3, 7]), min_size=N_GENES, max_size=N_GENES)


def oracle_values(cell, medians, ordered):
    scale = sum(medians[g] for g, _ in cell) / sum(c for _, c in cell)
    counts = dict(cell)
    return [np.log1p(counts[g] / medians[g] * scale) for g in ordered]


@given(cell_lists(), medians)
def test_like_a_plain_sort(cells, medians):
    medians = np.array(medians, np.float32)
    rows = rank_tokens(*arrays(cells), medians)
    assert len(rows) == len(cells)
    for number, cell in enumerate(cells):
        ordered = sorted(dict(cell), key=lambda g, of=dict(cell): (-np.float32(of[g]) / medians[g], g))
        mine = slice(rows.indptr[number], rows.indptr[number + 1])
        assert (rows.tokens[mine] - N_SPECIAL).tolist() == ordered
        if cell:
            np.testing.assert_allclose(rows.values[mine], oracle_values(cell, medians, ordered), rtol=1e-5)


@given(cell_lists(), medians, st.randoms())
def test_order_of_entries_has_no_say(cells, medians, random):
    medians = np.array(medians, np.float32)
    mixed = [random.sample(cell, len(cell)) for cell in cells]
    one, two = rank_tokens(*arrays(cells), medians), rank_tokens(*arrays(mixed), medians)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_array_equal(one.values, two.values)


def test_equal_multiples_of_the_median_tie():
    """Counts n × median tie for every n; a rounded reciprocal would break such ties at random."""
    medians = np.arange(1, 100, dtype=np.float32)[::-1].copy()
    rows = rank_tokens(np.array([0, 99]), np.arange(99), 3 * medians, medians)
    np.testing.assert_array_equal(rows.tokens, np.arange(99) + N_SPECIAL)


@pytest.mark.parametrize("factor", [3.0, 1 / 7, 1e4])
def test_a_factor_of_the_cell_changes_nothing(factor):
    rng = np.random.default_rng(0)
    indptr, genes = np.array([0, 30, 60]), np.tile(np.arange(30), 2)
    counts = rng.integers(1, 50, 60).astype(np.float32)
    medians = rng.uniform(1, 20, 30).astype(np.float32)
    one, two = rank_tokens(indptr, genes, counts, medians), rank_tokens(indptr, genes, counts * factor, medians)
    np.testing.assert_array_equal(one.tokens, two.tokens)
    np.testing.assert_allclose(one.values, two.values, rtol=1e-5)


def test_empty_cells_at_both_ends_leave_the_others_alone():
    counts, genes = np.array([2, 5, 1], np.float32), np.array([0, 1, 2])
    medians = np.array([1, 2, 4], np.float32)
    alone = rank_tokens(np.array([0, 3]), genes, counts, medians)
    framed = rank_tokens(np.array([0, 0, 3, 3, 3]), genes, counts, medians)
    assert framed.lengths.tolist() == [0, 3, 0, 0]
    np.testing.assert_array_equal(alone.tokens, framed.tokens)
    np.testing.assert_array_equal(alone.values, framed.values)


def test_without_values():
    counts, genes = np.array([2, 5, 1], np.float32), np.array([0, 1, 2])
    rows = rank_tokens(np.array([0, 3]), genes, counts, np.ones(3, np.float32), with_values=False)
    assert rows.tokens.tolist() == [4, 3, 5]
    assert rows.values.size == 0
    assert rows.cut(2).to_csr(2).toarray().tolist() == [[4, 3]]
