"""A saved clock's reading of cells: its genes, and the change in predicted age when genes are edited."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scflyformer import _log
from scflyformer.data import _adata
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import N_SPECIAL, PAD, Vocabulary
from scflyformer.perturbation._cells import Embedder
from scflyformer.perturbation._edit import cells_with
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.clock._saved import SavedClock
    from scflyformer.data._reading import Reading
    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.models import Model
    from scflyformer.perturbation._edit import Edits


@dataclass(frozen=True, eq=False)
class ClockReader:
    """A saved clock and the cells as it reads them.

    Attributes
    ----------
    saved
        The clock's folder, opened.
    known
        The model with a vocabulary of the genes that the clock reads. Gene ``i`` has the number ``i + N_SPECIAL``,
        which is its token where the clock reads the embedding.
    rows
        The cells, ranked; `None` where the clock reads no embedding.
    values
        log1p of counts per 10,000 in those of the clock's genes that the cells have, CSR; `None` where the clock reads
        no expression.
    numbers
        The gene of each column of ``values``, int64.
    slopes
        Change of the target per unit of each feature: of the embedding, of ``values``; float64, n_groups × features.
    offset
        The target where all features are 0, float64, shape (n_groups,).
    """

    saved: SavedClock
    known: Model
    rows: TokenRows | None
    values: sparse.csr_matrix | None
    numbers: np.ndarray
    slopes: dict[str, np.ndarray]
    offset: np.ndarray

    def usable(self) -> np.ndarray:
        """Which cells have counts in all that the clock reads, bool, shape (n_obs,)."""
        parts = [] if self.rows is None else [self.rows.lengths > 0]
        if self.values is not None:
            parts.append(np.diff(self.values.indptr) > 0)
        return np.logical_and.reduce(parts)

    def take(self, cells: np.ndarray) -> ClockReader:
        """Return the clock with some of the cells."""
        rows = None if self.rows is None else self.rows.take(cells)
        return replace(self, rows=rows, values=None if self.values is None else self.values[cells])

    def ranked(self) -> TokenRows:
        """Return the genes of each cell by their numbers, highest first.

        A gene stands where its token stands, or, where it has none in the cell, where its value stands among the
        values that the clock reads.
        """
        if self.values is None:
            return self.rows  # type: ignore[return-value]
        n_cells, ends = self.values.shape[0], self.values.indptr.astype(np.int64)
        cell = np.repeat(np.arange(n_cells), np.diff(ends))
        order = np.lexsort((self.numbers[self.values.indices], -self.values.data, cell))
        lists = [(cell, self.numbers[self.values.indices][order], _relative(ends))]
        if self.rows is not None:
            owner = np.repeat(np.arange(n_cells), self.rows.lengths)
            lists.insert(0, (owner, self.rows.tokens.astype(np.int64), _relative(self.rows.indptr)))
        cell, gene, place = (np.concatenate(parts) for parts in zip(*lists, strict=True))
        _, first = np.unique(cell * (self.known.vocabulary.n_tokens + 1) + gene, return_index=True)
        first = first[np.lexsort((gene[first], place[first], cell[first]))]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(cell[first], minlength=n_cells))]).astype(np.int64)
        return TokenRows(indptr, gene[first].astype(np.int32), np.zeros(len(first), dtype=np.float32))


def open_clock(adata: AnnData, clock: str | os.PathLike[str], reading: Reading) -> ClockReader:
    """Open a clock's folder and read the cells as it does."""
    from scflyformer.clock._apply import aligned
    from scflyformer.clock._saved import SavedClock

    saved = SavedClock.open(clock)
    model, heads = saved.model, saved.heads
    table = _adata.synonym_table(reading.synonyms)
    rows = values = None
    known, numbers, ahead = model, np.empty(0, dtype=np.int64), 0
    if "embedding" in saved.blocks:
        rows, _ = _adata.token_rows(adata, model, reading)
        ahead = model.embedding_size
    if "expression" in saved.blocks:
        values, keep = aligned(adata, saved.genes, reading)
        values.eliminate_zeros()
        heads = [head.restricted(np.concatenate([np.arange(ahead), ahead + keep])) for head in heads]
        names = np.array(saved.genes, dtype=str)[keep]
        vocabulary, numbers = _genes_read(model.vocabulary, names, table, only=rows is None)
        known = replace(model, vocabulary=vocabulary)
    slope, offset = (np.concatenate(parts) for parts in zip(*((h.slope, h.offset) for h in heads), strict=True))
    slopes = {"embedding": slope[:, :ahead], "expression": slope[:, ahead:]}
    return ClockReader(saved, known, rows, values, numbers, slopes, offset)


def age_changes(clock: ClockReader, head: np.ndarray, edits: Edits, running: Running) -> np.ndarray:
    """Change in predicted age when gene sets are edited in cells.

    Parameters
    ----------
    clock
        The clock, with the drawn cells alone.
    head
        The linear clock that each cell is read by, int64, shape (n_cells,).
    edits
        Sets hold numbers of genes, which may lie behind the model's tokens.

    Returns
    -------
    New minus old predicted age, in the unit of the clock's ages, float64, shape (n_copies,); NaN where the edit leaves
    nothing for the clock to read.
    """
    old, moved = clock.offset[head], np.zeros(len(edits))
    if clock.rows is not None:
        part, change = _embedding_part(clock, clock.rows, head, edits, running)
        old, moved = old + part, moved + change
    if clock.values is not None:
        part, change = _expression_part(clock, clock.values, head, edits)
        old, moved = old + part, moved + change
    before, to_age = old[edits.cells], clock.saved.to_age
    return to_age(before + moved) - to_age(before)


def _embedding_part(
    clock: ClockReader, rows: TokenRows, head: np.ndarray, edits: Edits, running: Running
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the embedding adds to the target of each cell, and how that changes in each copy."""
    from scflyformer.perturbation._copies import embedded_copies

    model = clock.saved.model
    embedder = Embedder(model.network(), model.pooling, running)
    slope = clock.slopes["embedding"][head]
    with _log.progress(total=len(rows), desc="embedding cells", unit="cell") as bar:
        vectors = embedder.embed(rows, bar=bar)
    old = np.einsum("ij,ij->i", vectors.astype(np.float64), slope)

    tokens = np.where(edits.sets < model.vocabulary.n_tokens, edits.sets, PAD)  # others are read as expression alone
    touched = (tokens != PAD).any(1)[edits.chosen]
    if edits.kind == "delete":
        cells, which = cells_with(rows, tokens)
        touched &= np.isin(edits.cells * len(tokens) + edits.chosen, cells * len(tokens) + which)
    at = np.flatnonzero(touched)
    change = np.zeros(len(edits))
    with _log.progress(total=len(at), desc=f"{edits.kind} genes", unit="cell") as bar:
        of_tokens = replace(edits.take(at), sets=tokens)
        for block, edited, vectors in embedded_copies(embedder, rows, of_tokens, bar=bar):
            after = np.einsum("ij,ij->i", vectors.astype(np.float64), slope[edited.source])
            change[at[block]] = np.where(edited.rows.lengths > 0, after - old[edited.source], np.nan)
    return old, change


def _expression_part(
    clock: ClockReader, values: sparse.csr_matrix, head: np.ndarray, edits: Edits
) -> tuple[np.ndarray, np.ndarray]:
    """Return what expression adds to the target of each cell, and how that changes in each copy."""
    slope = clock.slopes["expression"]
    cell = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
    added = sparse.csr_matrix(
        (values.data * slope[head[cell], values.indices], values.indices, values.indptr), shape=values.shape
    )
    old = np.asarray(added.sum(axis=1)).ravel()
    members = _members(edits.sets, clock.numbers)
    change = -_of_copies(added @ members, edits)
    if edits.kind == "overexpress":
        highest = values.max(axis=1).toarray().ravel().astype(np.float64)
        return old, change + highest[edits.cells] * np.asarray(slope @ members)[head[edits.cells], edits.chosen]
    ones = sparse.csr_matrix((np.ones(values.nnz), values.indices, values.indptr), shape=values.shape)
    left = np.diff(values.indptr)[edits.cells] - _of_copies(ones @ members, edits)
    return old, np.where(left > 0, change, np.nan)


def _members(sets: np.ndarray, numbers: np.ndarray) -> sparse.csc_matrix:
    """Return which columns belong to which set, 0 or 1, n_columns × n_sets."""
    n_numbers = int(max(numbers.max(initial=PAD), sets.max(initial=PAD))) + 1
    row, column = np.nonzero(sets != PAD)
    asked = sparse.csr_matrix((np.ones(len(row)), (sets[row, column], row)), shape=(n_numbers, len(sets)))
    return asked[numbers].tocsc()


def _of_copies(matrix: sparse.csr_matrix, edits: Edits) -> np.ndarray:
    """Return the entry of a cells × sets matrix for each copy, float64, shape (n_copies,)."""
    if not len(edits):
        return np.empty(0)
    return np.asarray(matrix.tocsr()[edits.cells, edits.chosen], dtype=np.float64).ravel()


def _relative(indptr: np.ndarray) -> np.ndarray:
    """Return where each entry stands in its row: 0 first, 1 last."""
    lengths = np.diff(indptr)
    place = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
    return place / np.repeat(np.maximum(lengths - 1, 1), lengths)


def _genes_read(
    vocabulary: Vocabulary, names: np.ndarray, table: SynonymTable | None, *, only: bool
) -> tuple[Vocabulary, np.ndarray]:
    """Return a vocabulary with genes that the model lacks behind its own, and the number of each name in it.

    With ``only`` it holds no genes but those named.
    """
    index = resolve_genes(list(names), vocabulary, synonyms=table).index.astype(np.int64)
    unknown = index < 0
    further, place = np.unique(names[unknown], return_inverse=True)
    kept = np.unique(index[~unknown]) if only else np.arange(vocabulary.n_genes)
    index[~unknown] = np.searchsorted(kept, index[~unknown])
    index[unknown] = len(kept) + place
    none = np.full(len(further), "")
    extended = Vocabulary(
        gene_ids=np.concatenate([vocabulary.gene_ids[kept], further]),
        symbols=np.concatenate([vocabulary.symbols[kept], none]),
        medians=np.concatenate([vocabulary.medians[kept], np.ones(len(further), dtype=np.float32)]),
        n_cells=np.concatenate([vocabulary.n_cells[kept], np.zeros(len(further), dtype=np.int64)]),
        synonyms=np.concatenate([vocabulary.synonyms[kept], none]),
    )
    return extended, index + N_SPECIAL
