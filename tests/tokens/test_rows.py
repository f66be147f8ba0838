"""Ragged rows do what lists of lists do."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.tokens._rows import TokenRows

cells = st.lists(st.lists(st.integers(3, 40), unique=True, max_size=12), min_size=1, max_size=8)


def _rows(cells: list[list[int]]) -> TokenRows:
    tokens = np.array([token for cell in cells for token in cell], np.int32)
    indptr = np.cumsum([0, *map(len, cells)])
    return TokenRows(indptr, tokens, (tokens / 7).astype(np.float32), np.arange(40) < 30)


def _lists(rows: TokenRows) -> list[list[int]]:
    """Return the tokens of each cell, after a check that values went with them."""
    np.testing.assert_array_equal(rows.values, (rows.tokens / 7).astype(np.float32))
    assert rows.panel is not None and len(rows) == len(rows.lengths)
    return [part.tolist() for part in np.split(rows.tokens, rows.indptr[1:-1])]


@given(cells, st.data())
def test_take(cells: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=10))
    assert _lists(_rows(cells).take(np.array(chosen))) == [cells[number] for number in chosen]


@given(cells, st.sets(st.integers(3, 40)))
def test_select(cells: list[list[int]], kept: set[int]) -> None:
    rows = _rows(cells)
    found = rows.select(np.isin(rows.tokens, list(kept)))
    assert _lists(found) == [[token for token in cell if token in kept] for cell in cells]
    assert _lists(rows) == cells


@given(cells, st.integers(1, 14))
def test_cut_and_csr(cells: list[list[int]], max_len: int) -> None:
    rows = _rows(cells)
    assert _lists(rows.cut(max_len)) == [cell[:max_len] for cell in cells]
    matrix = rows.to_csr(max_len)
    assert matrix.shape == (len(cells), max_len) and matrix.dtype == np.int32
    padded = [(cell + [0] * max_len)[:max_len] for cell in cells]
    assert matrix.toarray().tolist() == padded


@given(st.lists(cells, min_size=1, max_size=3))
def test_concatenate(parts: list[list[list[int]]]) -> None:
    assert _lists(TokenRows.concatenate(list(map(_rows, parts)))) == [cell for part in parts for cell in part]


def test_nothing_to_concatenate() -> None:
    assert len(TokenRows.concatenate([])) == 0
