"""Ranked cells as ragged arrays: what travels between the tokenizer, the edits and the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Cells as token ids in rank order, one row after the other; row ``i`` is ``tokens[indptr[i]:indptr[i + 1]]``."""

    indptr: np.ndarray  # int64, (n_cells + 1,)
    tokens: np.ndarray  # most over-expressed gene first, int32, (n_tokens,)
    values: np.ndarray
    """log1p of the median-scaled expression behind each token, float32, shape (n_tokens,); empty where they were not
    asked for, and then only `lengths`, `cut`, `to_csr` and `concatenate` work."""
    panel: np.ndarray | None = None
    """Which vocabulary genes the cells' data set measured, bool, shape (n_genes,); `None` where all, or not known."""

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per cell, int64, shape (n_cells,)."""
        return np.diff(self.indptr)

    def select(self, keep: np.ndarray) -> TokenRows:
        """Keep the tokens where the boolean array ``keep`` (shape (n_tokens,)) is true; later tokens move up."""
        kept = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        return TokenRows(kept, self.tokens[keep], self.values[keep], self.panel)

    def take(self, rows: np.ndarray) -> TokenRows:
        """Return the cells ``rows`` (integer positions, repeats allowed) in that order."""
        rows = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], lengths)
        return TokenRows(indptr, self.tokens[where], self.values[where], self.panel)

    def cut(self, max_len: int) -> TokenRows:
        """Keep the first ``max_len`` tokens of each cell."""
        if len(self) == 0 or self.lengths.max() <= max_len:
            return self
        lengths = np.minimum(self.lengths, max_len)
        stops = self.indptr[:-1] + lengths
        # Slices are copied whole, several times faster than a mask over all tokens.
        pieces = [slice(*ends) for ends in zip(self.indptr[:-1].tolist(), stops.tolist(), strict=True)]
        return TokenRows(
            np.concatenate([[0], np.cumsum(lengths)]),
            np.concatenate([self.tokens[piece] for piece in pieces]),
            np.concatenate([self.values[piece] for piece in pieces]),
            self.panel,
        )

    def to_csr(self, max_len: int) -> sparse.csr_matrix:
        """Return token ids as a CSR matrix of shape (n_cells, max_len); padding is the implicit 0."""
        rows = self.cut(max_len)
        index = np.int32 if len(rows.tokens) < np.iinfo(np.int32).max else np.int64
        ranks = np.arange(max_len, dtype=index)
        columns = np.empty(len(rows.tokens), dtype=index)
        for start, stop in zip(rows.indptr[:-1].tolist(), rows.indptr[1:].tolist(), strict=True):
            columns[start:stop] = ranks[: stop - start]
        parts = (rows.tokens.astype(np.int32, copy=False), columns, rows.indptr.astype(index))
        return sparse.csr_matrix(parts, shape=(len(rows), max_len))

    @staticmethod
    def concatenate(parts: list[TokenRows]) -> TokenRows:
        """Return the cells of all ``parts``, which share a panel, in order."""
        ends = np.cumsum([0] + [part.indptr[-1] for part in parts])
        starts = [part.indptr[:-1] + end for part, end in zip(parts, ends, strict=False)]
        return TokenRows(
            np.concatenate([*starts, ends[-1:]]).astype(np.int64),
            np.concatenate([part.tokens for part in parts] or [np.empty(0, np.int32)]),
            np.concatenate([part.values for part in parts] or [np.empty(0, np.float32)]),
            parts[0].panel if parts else None,
        )
