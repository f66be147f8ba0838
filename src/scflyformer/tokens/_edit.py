"""Edits of ranked cells: genes taken out or put in front, for many cells and gene sets at once.

Semantics follow Theodoris et al. 2023 (Nature 618, 616-624): a deleted gene's token goes and later tokens move up; an
overexpressed gene is removed where present and put in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scflyformer.genes._vocabulary import PAD
from scflyformer.tokens._rows import TokenRows


@dataclass(frozen=True, eq=False)
class Edited:
    """Edited copies of ranked cells, and what they still have in common with the cells they came from.

    Attributes
    ----------
    rows
        The copies.
    source
        The row that each copy was made from, int64, shape (n_copies,).
    shared
        Which tokens of `rows` the cell had before the edit too, bool, shape (n_tokens of `rows`,).
    kept
        Which tokens of ``original.take(source)`` are still there after the edit, bool.
    """

    rows: TokenRows
    source: np.ndarray
    shared: np.ndarray
    kept: np.ndarray


def cells_with(rows: TokenRows, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find which cells hold at least one token of which set.

    Parameters
    ----------
    rows
        Ranked cells.
    sets
        Token ids of each set, short ones filled with the padding id, shape (n_sets, width).

    Returns
    -------
    Pairs (cell, set) as two int64 arrays, ordered by set, then by cell.
    """
    width = int(max(rows.tokens.max(initial=PAD), sets.max(initial=PAD))) + 1
    held = sparse.csr_matrix(
        (np.ones(len(rows.tokens), np.float32), rows.tokens, rows.indptr), shape=(len(rows), width)
    )
    which, column = np.nonzero(sets != PAD)
    asked = sparse.csr_matrix((np.ones(len(which), np.float32), (which, sets[which, column])), shape=(len(sets), width))
    found = (asked @ held.T).tocoo()
    order = np.lexsort((found.col, found.row))
    return found.col[order].astype(np.int64), found.row[order].astype(np.int64)


def delete_tokens(rows: TokenRows, sets: np.ndarray, source: np.ndarray | None = None) -> Edited:
    """Take tokens out of cells; later tokens move up.

    Parameters
    ----------
    rows
        Ranked cells.
    sets
        Token ids to take out: one set for all copies, shape (width,), or one per copy, shape (n_copies, width), short
        ones filled with the padding id.
    source
        The row each copy is made from, repeats allowed. By default, with one set, the rows that hold one of its tokens.

    Returns
    -------
    The edited copies. A token that a cell lacks changes nothing there.
    """
    source, sets = _pairs(rows, sets, source, everywhere=False)
    before = rows.take(source)
    hit, _ = _match(before, sets)
    after = before.select(~hit)
    return Edited(after, source, np.ones(len(after.tokens), dtype=bool), ~hit)


def overexpress_tokens(
    rows: TokenRows, sets: np.ndarray, source: np.ndarray | None = None, *, max_len: int | None = None
) -> Edited:
    """Put tokens in front of cells, in the set's order, with the value of the cell's first token.

    Parameters
    ----------
    rows
        Ranked cells.
    sets
        Token ids to put in front, each at most once a set, shaped as for `delete_tokens`.
    source
        The row each copy is made from, repeats allowed. By default, with one set, every row.
    max_len
        Tokens a copy may have; the last ones fall off.

    Returns
    -------
    The edited copies. In a cell without tokens the value is 0.
    """
    source, sets = _pairs(rows, sets, source, everywhere=True)
    before = rows.take(source)
    hit, present = _match(before, sets)
    rest = before.select(~hit)
    asked = sets != PAD
    n_front = asked.sum(1)
    lengths = n_front + rest.lengths
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rank = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    front = rank < np.repeat(n_front, lengths)

    tokens = np.empty(len(front), dtype=np.int32)
    tokens[front], tokens[~front] = sets[asked], rest.tokens
    first = np.zeros(len(before), dtype=np.float32)
    filled = before.lengths > 0
    first[filled] = before.values[before.indptr[:-1][filled]]
    values = np.empty(len(front), dtype=np.float32)
    values[front], values[~front] = np.repeat(first, n_front), rest.values
    shared = np.ones(len(front), dtype=bool)
    shared[front] = present[asked]
    kept = np.ones(len(hit), dtype=bool)
    after = TokenRows(indptr, tokens, values, rows.panel)
    if max_len is not None:
        inside = rank < max_len
        kept[~hit] = inside[~front]
        if hit.any():  # a token moved to the front stays unless the set itself is longer than `max_len`
            owner = np.repeat(np.arange(len(before)), before.lengths)[hit]
            place = np.argmax(sets[owner] == before.tokens[hit][:, None], axis=1)
            kept[hit] = np.cumsum(asked, axis=1)[owner, place] <= max_len
        after, shared = after.select(inside), shared[inside]
    return Edited(after, source, shared, kept)


def _pairs(
    rows: TokenRows, sets: np.ndarray, source: np.ndarray | None, *, everywhere: bool
) -> tuple[np.ndarray, np.ndarray]:
    sets = np.asarray(sets, dtype=np.int32)
    if source is None:
        if sets.ndim != 1:
            raise ValueError("One set per copy needs `source`, the row of each copy.")
        source = np.arange(len(rows)) if everywhere else cells_with(rows, sets[None])[0]
    source = np.asarray(source, dtype=np.int64)
    return source, np.broadcast_to(sets, (len(source), sets.shape[-1]))


def _match(rows: TokenRows, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens belong to their cell's set, and which members of each set the cell holds."""
    owner = np.repeat(np.arange(len(rows)), rows.lengths)
    hit = np.zeros(len(rows.tokens), dtype=bool)
    present = np.zeros(sets.shape, dtype=bool)
    for column in range(sets.shape[1]):
        equal = rows.tokens == sets[owner, column]
        present[owner[equal], column] = True
        hit |= equal
    return hit, present
