"""Vectorised edits do to every cell what list operations do to one cell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scflyformer.tokens._edit import cells_with, delete_tokens, overexpress_tokens
from scflyformer.tokens._rows import TokenRows

GENES = list(range(3, 15))
cell = st.lists(st.sampled_from(GENES), unique=True, max_size=8)
gene_set = st.lists(st.sampled_from(GENES), unique=True, min_size=1, max_size=4)


def as_rows(cells: list[list[int]]) -> TokenRows:
    """Cells as ragged arrays; the value of a token tells which cell and place it had."""
    indptr = np.concatenate([[0], np.cumsum([len(tokens) for tokens in cells])]).astype(np.int64)
    tokens = np.array([token for tokens in cells for token in tokens], dtype=np.int32)
    values = np.array([10 * row + place for row, tokens in enumerate(cells) for place in range(len(tokens))])
    return TokenRows(indptr, tokens, values.astype(np.float32))


def as_lists(rows: TokenRows, flat: np.ndarray) -> list[list]:
    """Ragged array as one list per row."""
    return [flat[start:stop].tolist() for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)]


def padded(sets: list[list[int]]) -> np.ndarray:
    """Sets as one matrix filled with the padding id."""
    out = np.zeros((len(sets), max(map(len, sets))), dtype=np.int32)
    for row, members in enumerate(sets):
        out[row, : len(members)] = members
    return out


@settings(max_examples=150, deadline=None)
@given(st.lists(cell, min_size=1, max_size=6), st.lists(gene_set, min_size=1, max_size=4))
def test_delete_equals_list_oracle(cells: list[list[int]], sets: list[list[int]]) -> None:
    """Pairs, tokens, values and what is kept agree with a loop over cells."""
    rows, table = as_rows(cells), padded(sets)
    source, chosen = cells_with(rows, table)
    expected = [(i, j) for j, genes in enumerate(sets) for i, tokens in enumerate(cells) if set(genes) & set(tokens)]
    assert list(zip(source.tolist(), chosen.tolist(), strict=True)) == expected
    edited = delete_tokens(rows, table[chosen], source)
    tokens, values = as_lists(edited.rows, edited.rows.tokens), as_lists(edited.rows, edited.rows.values)
    kept = as_lists(rows.take(source), edited.kept)
    for copy, (i, j) in enumerate(expected):
        stay = [place for place, token in enumerate(cells[i]) if token not in sets[j]]
        assert tokens[copy] == [cells[i][place] for place in stay]
        assert values[copy] == [10 * i + place for place in stay]
        assert kept[copy] == [token not in sets[j] for token in cells[i]]
    assert edited.shared.all() and len(edited.shared) == len(edited.rows.tokens)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(cell, min_size=1, max_size=5), st.lists(gene_set, min_size=1, max_size=4), st.none() | st.integers(1, 9)
)
def test_overexpress_equals_list_oracle(cells: list[list[int]], sets: list[list[int]], max_len: int | None) -> None:
    """Tokens, values, what is shared and what is kept agree with a loop over cells."""
    cells = [tokens[:max_len] for tokens in cells]
    rows, table = as_rows(cells), padded(sets)
    source, chosen = (axis.ravel() for axis in np.meshgrid(np.arange(len(cells)), np.arange(len(sets))))
    edited = overexpress_tokens(rows, table[chosen], source, max_len=max_len)
    tokens, values = as_lists(edited.rows, edited.rows.tokens), as_lists(edited.rows, edited.rows.values)
    shared, kept = as_lists(edited.rows, edited.shared), as_lists(rows.take(source), edited.kept)
    for copy, (i, j) in enumerate(zip(source, chosen, strict=True)):
        rest = [place for place, token in enumerate(cells[i]) if token not in sets[j]]
        first = 10.0 * i if cells[i] else 0.0
        want = (sets[j] + [cells[i][place] for place in rest])[:max_len]
        assert tokens[copy] == want
        assert values[copy] == ([first] * len(sets[j]) + [10.0 * i + place for place in rest])[:max_len]
        assert shared[copy] == [token in cells[i] for token in want]
        assert kept[copy] == [token in want for token in cells[i]]


def test_one_set_for_all_cells() -> None:
    """Deleting touches the cells that express the gene; overexpressing touches every cell."""
    rows = as_rows([[5, 4, 3], [4, 6], [3]])
    deleted = delete_tokens(rows, np.array([3]))
    assert deleted.source.tolist() == [0, 2]
    assert as_lists(deleted.rows, deleted.rows.tokens) == [[5, 4], []]
    pushed = overexpress_tokens(rows, np.array([3]))
    assert pushed.source.tolist() == [0, 1, 2]
    assert as_lists(pushed.rows, pushed.rows.tokens) == [[3, 5, 4], [3, 4, 6], [3]]


def test_original_is_untouched_and_sets_per_copy_need_their_rows() -> None:
    """Edits return new arrays; a matrix of sets without `source` is refused."""
    rows = as_rows([[5, 4, 3], [4, 6]])
    before = rows.tokens.copy(), rows.values.copy()
    delete_tokens(rows, np.array([4]))
    overexpress_tokens(rows, np.array([4]))
    assert np.array_equal(rows.tokens, before[0]) and np.array_equal(rows.values, before[1])
    with pytest.raises(ValueError, match="needs `source`"):
        delete_tokens(rows, np.array([[4], [5]]))


def test_no_pairs() -> None:
    """No cell, no set member present: empty copies."""
    edited = delete_tokens(as_rows([[5, 4]]), np.array([9]))
    assert len(edited.rows) == 0 and edited.rows.indptr.tolist() == [0]
