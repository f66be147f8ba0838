"""Vectorised edits do to every cell what list operations do to one cell."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scflyformer.genes._vocabulary import MASK
from scflyformer.perturbation._edit import (
    FOUND_ONLY,
    HIDDEN_VALUE,
    Edited,
    Kind,
    cells_with,
    delete_tokens,
    edit_tokens,
    mask_tokens,
    move_tokens,
    overexpress_tokens,
)
from scflyformer.tokens._rows import TokenRows

GENES = list(range(3, 15))
cell = st.lists(st.sampled_from(GENES), unique=True, max_size=8)
gene_set = st.lists(st.sampled_from(GENES), unique=True, min_size=1, max_size=4)
dose = st.sampled_from([0.05, 0.25, 1 / 3, 0.5, 0.75, 1.0]) | st.floats(0.01, 1.0)
PANEL = np.arange(12) % 2 == 0


def as_rows(cells: list[list[int]]) -> TokenRows:
    """Cells as ragged arrays; the value of a token tells which cell and place it had."""
    indptr = np.concatenate([[0], np.cumsum([len(tokens) for tokens in cells])]).astype(np.int64)
    tokens = np.array([token for tokens in cells for token in tokens], dtype=np.int32)
    values = np.array([10 * row + place for row, tokens in enumerate(cells) for place in range(len(tokens))])
    return TokenRows(indptr, tokens, values.astype(np.float32), PANEL)


def as_lists(rows: TokenRows, flat: np.ndarray) -> list[list]:
    """Ragged array as one list per row."""
    return [flat[start:stop].tolist() for start, stop in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)]


def padded(sets: list[list[int]]) -> np.ndarray:
    """Sets as one matrix filled with the padding id."""
    out = np.zeros((len(sets), max(map(len, sets))), dtype=np.int32)
    for row, members in enumerate(sets):
        out[row, : len(members)] = members
    return out


def drawn_copies(data: st.DataObject, cells: list[list[int]]) -> tuple[np.ndarray, list[list[int]]]:
    """Rows in any order, repeats among them, and a set of genes for each."""
    source = data.draw(st.lists(st.integers(0, len(cells) - 1), min_size=1, max_size=6))
    return np.array(source), [data.draw(gene_set) for _ in source]


def same(found: Edited, expected: Edited) -> None:
    """Two edits agree in all that they hold."""
    for name in ("source", "shared", "kept"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for name in ("indptr", "tokens", "values", "panel"):
        assert np.array_equal(getattr(found.rows, name), getattr(expected.rows, name))


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


@settings(max_examples=150, deadline=None)
@given(st.lists(cell, min_size=1, max_size=6), st.data())
def test_mask_equals_list_oracle(cells: list[list[int]], data: st.DataObject) -> None:
    """The mask token stands where the gene stood, its value not shown; nothing else changes."""
    source, sets = drawn_copies(data, cells)
    rows = as_rows(cells)
    edited = mask_tokens(rows, padded(sets), source)
    tokens, values = as_lists(edited.rows, edited.rows.tokens), as_lists(edited.rows, edited.rows.values)
    shared, kept = as_lists(edited.rows, edited.shared), as_lists(rows.take(source), edited.kept)
    for copy, (i, genes) in enumerate(zip(source, sets, strict=True)):
        assert tokens[copy] == [MASK if token in genes else token for token in cells[i]]
        assert values[copy] == [HIDDEN_VALUE if t in genes else 10.0 * i + place for place, t in enumerate(cells[i])]
        assert shared[copy] == kept[copy] == [token not in genes for token in cells[i]]


@settings(max_examples=250, deadline=None)
@given(st.lists(cell, min_size=1, max_size=5), dose, st.none() | st.integers(1, 9), st.data())
def test_activate_equals_list_oracle(
    cells: list[list[int]], dose: float, max_len: int | None, data: st.DataObject
) -> None:
    """Each gene is put right before the token at its new rank, or behind the last one, with that token's value."""
    cells = [tokens[:max_len] for tokens in cells]
    source, sets = drawn_copies(data, cells)
    rows = as_rows(cells)
    edited = edit_tokens(rows, padded(sets), source, kind="activate", dose=dose, max_len=max_len)
    tokens, values = as_lists(edited.rows, edited.rows.tokens), as_lists(edited.rows, edited.rows.values)
    shared, kept = as_lists(edited.rows, edited.shared), as_lists(rows.take(source), edited.kept)
    for copy, (i, genes) in enumerate(zip(source, sets, strict=True)):
        arriving: list[list] = [[] for _ in range(len(cells[i]) + 1)]
        for gene in genes:
            start = cells[i].index(gene) if gene in cells[i] else len(cells[i])
            arriving[round((1 - dose) * start)].append(gene)
        want = []
        for place, token in enumerate(cells[i]):
            want += [(gene, 10.0 * i + place) for gene in arriving[place]]
            want += [(token, 10.0 * i + place)] if token not in genes else []
        last = 10.0 * i + len(cells[i]) - 1 if cells[i] else 0.0
        want = (want + [(gene, last) for gene in arriving[-1]])[:max_len]
        left = [token for token, _ in want]
        assert list(zip(tokens[copy], values[copy], strict=True)) == want
        assert shared[copy] == [token in cells[i] for token in left]
        assert kept[copy] == [token in left for token in cells[i]]


@settings(max_examples=250, deadline=None)
@given(st.lists(cell, min_size=1, max_size=5), dose, st.data())
def test_knockdown_equals_list_oracle(cells: list[list[int]], dose: float, data: st.DataObject) -> None:
    """Each gene is put right behind the token at its new rank, with that token's value; all tokens are still there."""
    source, sets = drawn_copies(data, cells)
    edited = edit_tokens(as_rows(cells), padded(sets), source, kind="knockdown", dose=dose)
    tokens, values = as_lists(edited.rows, edited.rows.tokens), as_lists(edited.rows, edited.rows.values)
    for copy, (i, genes) in enumerate(zip(source, sets, strict=True)):
        arriving: list[list] = [[] for _ in cells[i]]
        for gene in genes:
            if gene in cells[i]:
                rank = cells[i].index(gene)
                arriving[rank + round(dose * (len(cells[i]) - 1 - rank))].append(gene)
        want = []
        for place, token in enumerate(cells[i]):
            want += [(token, 10.0 * i + place)] if token not in genes else []
            want += [(gene, 10.0 * i + place) for gene in arriving[place]]
        assert list(zip(tokens[copy], values[copy], strict=True)) == want
    assert edited.shared.all() and edited.kept.all()
    assert len(edited.shared) == len(edited.kept) == len(edited.rows.tokens)


@settings(max_examples=150, deadline=None)
@given(cell, st.sampled_from(GENES), dose, st.sampled_from(["front", "back"]))
def test_a_gene_alone_lands_at_its_rank(tokens: list[int], gene: int, dose: float, towards: str) -> None:
    """One gene is taken out and put in at the rank asked for; a gene that the cell lacks is not knocked down."""
    copy = move_tokens(as_rows([tokens]), np.array([gene]), np.array([0]), dose=dose, towards=towards).rows
    rest = [token for token in tokens if token != gene]
    rank, last = (tokens.index(gene) if gene in tokens else len(tokens)), len(tokens) - 1
    goal = round((1 - dose) * rank) if towards == "front" else rank + round(dose * (last - rank))
    if gene in tokens or towards == "front":
        rest.insert(goal, gene)
        assert copy.values[goal] == min(goal, max(last, 0))
    assert copy.tokens.tolist() == rest
    assert (np.diff(copy.values) >= 0).all()  # as in the cell: values stay in the order of ranks


@settings(max_examples=100, deadline=None)
@given(st.lists(cell, min_size=1, max_size=5), st.none() | st.integers(1, 9), st.data())
def test_full_doses_are_the_ends(cells: list[list[int]], max_len: int | None, data: st.DataObject) -> None:
    """Activation at dose 1 is overexpression; a knockdown at dose 1 is deletion, and the gene in the last place."""
    cells = [tokens[:max_len] for tokens in cells]
    source, sets = drawn_copies(data, cells)
    rows, table = as_rows(cells), padded(sets)
    first = edit_tokens(rows, table, source, kind="activate", dose=1.0, max_len=max_len)
    same(first, overexpress_tokens(rows, table, source, max_len=max_len))
    back = edit_tokens(rows, table, source, kind="knockdown", dose=1.0)
    gone = delete_tokens(rows, table, source).rows
    deleted = as_lists(gone, gone.tokens)
    found = [[gene for gene in genes if gene in cells[i]] for i, genes in zip(source, sets, strict=True)]
    assert as_lists(back.rows, back.rows.tokens) == [a + b for a, b in zip(deleted, found, strict=True)]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind(kind: Kind) -> None:
    """By default the cells that hold the gene, or all; types, panel and the original stay as they are."""
    rows = as_rows([[5, 4, 3], [4, 6], [], [3]])
    before = rows.tokens.copy(), rows.values.copy()
    edited = edit_tokens(rows, np.array([3]), kind=kind, dose=0.5, max_len=4)
    assert edited.source.tolist() == ([0, 3] if kind in FOUND_ONLY else [0, 1, 2, 3])
    copies = edited.rows
    assert [array.dtype for array in (copies.indptr, copies.tokens, copies.values)] == [np.int64, np.int32, np.float32]
    assert copies.panel is PANEL and copies.indptr[-1] == len(copies.tokens) == len(copies.values)
    assert edited.shared.dtype == edited.kept.dtype == bool
    assert np.array_equal(rows.tokens, before[0]) and np.array_equal(rows.values, before[1])
    none = edit_tokens(rows, np.array([3]), np.array([], dtype=np.int64), kind=kind, dose=0.5)
    assert len(none.rows) == 0 and none.rows.indptr.tolist() == [0]


def test_kinds_by_hand() -> None:
    """Half-way moves of a gene in a cell of five and of one that the cell lacks; an unknown kind is refused."""
    rows = as_rows([[5, 4, 3, 8, 9]])

    def copy(kind: str, gene: int, dose: float) -> list[int]:
        return edit_tokens(rows, np.array([gene]), np.array([0]), kind=kind, dose=dose).rows.tokens.tolist()

    assert copy("knockdown", 5, 0.5) == [4, 3, 5, 8, 9]
    assert copy("activate", 9, 0.5) == [5, 4, 9, 3, 8]
    assert copy("activate", 7, 0.6) == [5, 4, 7, 3, 8, 9]
    assert copy("activate", 7, 0.05) == [5, 4, 3, 8, 9, 7]
    assert copy("mask", 3, 0.5) == [5, 4, MASK, 8, 9]
    with pytest.raises(ValueError, match="kind='knockout' is unknown; expected one of"):
        copy("knockout", 3, 0.5)


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
