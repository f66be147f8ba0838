"""Edits of ranked cells: genes taken out, hidden or moved in rank, for many cells and gene sets at once.

Deletion and overexpression follow Theodoris et al. 2023 (Nature 618, 616-624): a deleted gene's token goes and later
tokens move up; an overexpressed gene is removed where present and put in front. A knockdown moves a gene part of the
way to the last rank, an activation part of the way to the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, PAD
from scflyformer.tokens._rows import TokenRows

Kind = Literal["delete", "overexpress", "knockdown", "activate", "mask"]
FOUND_ONLY = ("delete", "knockdown", "mask")
"""Kinds that act only in cells which hold a gene of the set."""
DOSED = ("knockdown", "activate")
"""Kinds that are done by a dose."""


@dataclass(frozen=True, eq=False)
class Edits:
    """What is done to which cells.

    Attributes
    ----------
    sets
        Token ids of each gene set, short ones filled with the padding id, shape (n_sets, width).
    cells, chosen
        Cell and set of each edited copy, int64, shape (n_copies,) each.
    kind, dose
        The edit, as for :func:`edit_tokens`.
    """

    sets: np.ndarray
    cells: np.ndarray
    chosen: np.ndarray
    kind: Kind
    dose: float = 1.0

    def __len__(self) -> int:
        """Return the number of copies."""
        return len(self.cells)

    def take(self, copies: np.ndarray) -> Edits:
        """Return some of the copies, given by position."""
        return replace(self, cells=self.cells[copies], chosen=self.chosen[copies])


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
    """Return which cells hold at least one token of which set, as pairs (cell, set), by set, then by cell.

    ``sets`` are token ids, short sets filled with the padding id, shape (n_sets, width).
    """
    width = int(max(rows.tokens.max(initial=PAD), sets.max(initial=PAD))) + 1
    held = sparse.csr_matrix(
        (np.ones(len(rows.tokens), np.float32), rows.tokens, rows.indptr), shape=(len(rows), width)
    )
    which, column = np.nonzero(sets != PAD)
    asked = sparse.csr_matrix((np.ones(len(which), np.float32), (which, sets[which, column])), shape=(len(sets), width))
    hits = (asked @ held.T).tocoo()
    order = np.lexsort((hits.col, hits.row))
    return hits.col[order].astype(np.int64), hits.row[order].astype(np.int64)


def delete_tokens(rows: TokenRows, sets: np.ndarray, source: np.ndarray | None = None) -> Edited:
    """Take tokens out of cells; later tokens move up. A token that a cell lacks changes nothing there.

    ``sets`` and ``source`` as for :func:`edit_tokens`.
    """
    source, sets = _set_of_each_copy(rows, sets, source, everywhere=False)
    before = rows.take(source)
    hit, _ = _find_members(before, sets)
    after = before.select(~hit)
    return Edited(after, source, np.ones(len(after.tokens), dtype=bool), ~hit)


def mask_tokens(rows: TokenRows, sets: np.ndarray, source: np.ndarray | None = None) -> Edited:
    """Put the mask token in the place of tokens, its value not shown; a token that a cell lacks changes nothing there.

    ``sets`` and ``source`` as for :func:`edit_tokens`.
    """
    source, sets = _set_of_each_copy(rows, sets, source, everywhere=False)
    before = rows.take(source)
    hit, _ = _find_members(before, sets)
    tokens = np.where(hit, np.int32(MASK), before.tokens)
    values = np.where(hit, np.float32(HIDDEN_VALUE), before.values)
    return Edited(TokenRows(before.indptr, tokens, values, before.panel), source, ~hit, ~hit)


def overexpress_tokens(
    rows: TokenRows, sets: np.ndarray, source: np.ndarray | None = None, *, max_len: int | None = None
) -> Edited:
    """Put tokens in front of cells, in the set's order, with the value of the cell's first token, 0 where it has none.

    ``sets``, ``source`` and ``max_len`` as for :func:`edit_tokens`.
    """
    return move_tokens(rows, sets, source, dose=1.0, towards="front", max_len=max_len)


def move_tokens(
    rows: TokenRows,
    sets: np.ndarray,
    source: np.ndarray | None = None,
    *,
    dose: float,
    towards: Literal["front", "back"],
    max_len: int | None = None,
) -> Edited:
    """Move tokens part of the way to the first or to the last rank of their cell.

    With ranks from 0 and L tokens in the cell, a token at rank r moves to rank r + round(dose · (L − 1 − r)) towards
    the back and to rank round((1 − dose) · r) towards the front, halves rounded to even. Towards the front, a token
    that the cell lacks starts from r = L, behind the last one. The moved token takes the value of the token that had
    its new rank, so values still fall along the ranks, and the tokens it passes move by one.

    Of several tokens in a set, each moves to right behind (towards the front: right before) the token that had the
    rank it would take alone; those that meet there keep the set's order. A token that a cell lacks is put in for
    ``"front"`` and changes nothing for ``"back"``; put in behind the last one it takes the last one's value, 0 in a
    cell without tokens.

    ``sets``, ``source`` and ``max_len`` as for :func:`edit_tokens`.
    """
    front = towards == "front"
    source, sets = _set_of_each_copy(rows, sets, source, everywhere=front)
    before = rows.take(source)
    lengths = before.lengths
    hit, rank = _find_members(before, sets)
    copy, column = np.nonzero(sets != PAD if front else rank >= 0)
    held = rank[copy, column] >= 0
    start = np.where(held, rank[copy, column], lengths[copy])
    goal = np.rint((1 - dose) * start) if front else start + np.rint(dose * (lengths[copy] - 1 - start))
    goal = goal.astype(np.int64)
    stay = np.flatnonzero(~hit)
    owner = np.repeat(np.arange(len(before)), lengths)[stay]

    # Standing tokens have odd places, moved ones the even places around them; those of one place keep the set's order.
    place = np.concatenate([2 * goal + (0 if front else 2), 2 * (stay - before.indptr[owner]) + 1])
    first = np.cumsum(2 * lengths + 1) - (2 * lengths + 1)
    order = np.argsort(first[np.concatenate([copy, owner])] + place, kind="stable")

    filled = lengths[copy] > 0
    value = np.zeros(len(copy), dtype=np.float32)
    value[filled] = before.values[(before.indptr[copy] + np.minimum(goal, lengths[copy] - 1))[filled]]
    origin = np.concatenate([np.where(held, before.indptr[copy] + start, -1), stay])[order]
    indptr = np.concatenate([[0], np.cumsum(lengths + np.bincount(copy[~held], minlength=len(lengths)))])
    tokens = np.concatenate([sets[copy, column], before.tokens[stay]])[order]
    values = np.concatenate([value, before.values[stay]])[order]
    after = TokenRows(indptr, tokens, values, before.panel)
    shared, kept = origin >= 0, np.ones(len(hit), dtype=bool)
    if max_len is not None:
        inside = np.arange(indptr[-1]) - np.repeat(indptr[:-1], after.lengths) < max_len
        kept[origin[shared & ~inside]] = False
        after, shared = after.select(inside), shared[inside]
    return Edited(after, source, shared, kept)


def edit_tokens(
    rows: TokenRows,
    sets: np.ndarray,
    source: np.ndarray | None = None,
    *,
    kind: Kind,
    dose: float = 1.0,
    max_len: int | None = None,
) -> Edited:
    """Edit cells in one of five ways.

    Parameters
    ----------
    sets
        Token ids of genes, each at most once a set: one set for all copies, shape (width,), or one per copy, shape
        (n_copies, width), short ones filled with the padding id.
    source
        The row each copy is made from, repeats allowed. By default, with one set, the rows that hold one of its tokens
        for the kinds of `FOUND_ONLY` and every row for the others.
    kind
        ``"delete"`` takes the genes out, ``"overexpress"`` puts them in front, ``"mask"`` hides them, ``"knockdown"``
        moves them back and ``"activate"`` forward by ``dose``.
    dose
        Share of the way to the last or first rank, above 0 and at most 1; of ``"knockdown"`` and ``"activate"`` alone.
    max_len
        Tokens a copy may have, for the kinds that put tokens in; the last ones fall off.
    """
    if kind == "delete":
        return delete_tokens(rows, sets, source)
    if kind == "mask":
        return mask_tokens(rows, sets, source)
    if kind == "overexpress":
        return overexpress_tokens(rows, sets, source, max_len=max_len)
    if kind == "knockdown":
        return move_tokens(rows, sets, source, dose=dose, towards="back")
    if kind == "activate":
        return move_tokens(rows, sets, source, dose=dose, towards="front", max_len=max_len)
    raise ValueError(f"kind={kind!r} is unknown; expected one of {get_args(Kind)}.")


def _set_of_each_copy(
    rows: TokenRows, sets: np.ndarray, source: np.ndarray | None, *, everywhere: bool
) -> tuple[np.ndarray, np.ndarray]:
    sets = np.asarray(sets, dtype=np.int32)
    if source is None:
        if sets.ndim != 1:
            raise ValueError("One set per copy needs `source`, the row of each copy.")
        source = np.arange(len(rows)) if everywhere else cells_with(rows, sets[None])[0]
    source = np.asarray(source, dtype=np.int64)
    return source, np.broadcast_to(sets, (len(source), sets.shape[-1]))


def _find_members(rows: TokenRows, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which tokens belong to their cell's set, and the rank of each set member in its cell, -1 where absent."""
    owner = np.repeat(np.arange(len(rows)), rows.lengths)
    hit = np.zeros(len(rows.tokens), dtype=bool)
    rank = np.full(sets.shape, -1, dtype=np.int64)
    for column in range(sets.shape[1]):
        equal = np.flatnonzero(rows.tokens == sets[owner, column])
        rank[owner[equal], column] = equal - rows.indptr[owner[equal]]
        hit[equal] = True
    return hit, rank
