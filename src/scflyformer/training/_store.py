"""The pretraining corpus on disk: written in one pass over the sources, memory-mapped afterwards.

One flat file an array, one entry an expressed gene. First genes and counts are appended, then ranked in place of them:
memory holds a chunk of cells, never the corpus.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rank import rank_tokens
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse

_CHUNK_CELLS = 16_384
_META = "store.json"


class CountWriter:
    """Appends cells to a folder as genes and counts; a context manager, so that a failure leaves no open file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._genes = (folder / "genes.bin").open("wb")
        self._counts = (folder / "counts.bin").open("wb")
        self._lengths: list[np.ndarray] = []
        self._sources: list[np.ndarray] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self._genes.close()
        self._counts.close()

    def append(self, counts: sparse.csr_matrix, source: int) -> None:
        """Append cells of one source: counts over the corpus's genes, shape (n_cells, n_genes), no explicit zeros."""
        counts.indices.astype(np.uint32).tofile(self._genes)
        counts.data.astype(np.float32).tofile(self._counts)
        self._lengths.append(np.diff(counts.indptr).astype(np.int64))
        self._sources.append(np.full(counts.shape[0], source, dtype=np.int16))

    def finish(self) -> CountStore:
        """Close the files and return what was written."""
        self.__exit__()
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))]).astype(np.int64)
        np.save(self.folder / "indptr.npy", indptr)
        np.save(self.folder / "source.npy", np.concatenate(self._sources))
        return CountStore(self.folder)


class CountStore:
    """Genes and counts of every cell, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.indptr = np.load(folder / "indptr.npy")
        self.source = np.load(folder / "source.npy")
        self.genes = _memory_map(folder / "genes.bin", np.uint32)
        self.counts = _memory_map(folder / "counts.bin", np.float32)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.indptr) - 1

    def chunks(self, source: int | None = None) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield (cells, indptr of the chunk, genes, counts); only cells of ``source`` where one is named."""
        ends = np.flatnonzero(np.diff(self.source)) + 1
        for start, stop in zip([0, *ends], [*ends, len(self)], strict=True):
            if source is not None and self.source[start] != source:
                continue
            for first in range(start, stop, _CHUNK_CELLS):
                last = min(first + _CHUNK_CELLS, stop)
                span = slice(self.indptr[first], self.indptr[last])
                indptr = self.indptr[first : last + 1] - span.start
                yield slice(first, last), indptr, np.asarray(self.genes[span]), np.asarray(self.counts[span])

    def rank(self, keep: np.ndarray, medians: np.ndarray, panels: np.ndarray) -> TokenStore:
        """Rank every cell over the kept genes, write tokens and values, and remove the counts.

        ``keep`` are the corpus genes that enter the vocabulary, in its order, ``medians`` theirs; ``panels`` says which
        of them each source measured, bool, shape (n_sources, n_vocabulary).
        """
        position = np.full(int(max(keep.max(), self.genes.max(initial=0))) + 1, -1, dtype=np.int32)
        position[keep] = np.arange(len(keep), dtype=np.int32)
        width = np.uint16 if len(keep) + N_SPECIAL <= np.iinfo(np.uint16).max else np.uint32
        lengths = []
        with (self.folder / "tokens.bin").open("wb") as tokens, (self.folder / "values.bin").open("wb") as values:
            for _, indptr, genes, counts in self.chunks():
                index = position[genes]
                known = index >= 0
                kept = np.concatenate([[0], np.cumsum(known)])[indptr]
                rows = rank_tokens(kept, index[known], counts[known], medians)
                rows.tokens.astype(width).tofile(tokens)
                rows.values.astype(np.float16).tofile(values)
                lengths.append(rows.lengths)
        np.save(self.folder / "indptr.npy", np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64))
        np.save(self.folder / "panels.npy", panels)
        np.save(self.folder / "medians.npy", medians.astype(np.float32))
        (self.folder / _META).write_text(json.dumps({"token_type": np.dtype(width).name}))
        del self.genes, self.counts
        (self.folder / "genes.bin").unlink()
        (self.folder / "counts.bin").unlink()
        return TokenStore(self.folder)


class TokenStore:
    """Ranked tokens and values of every cell, memory-mapped.

    Attributes
    ----------
    source
        Source of each cell, int16, shape (n_cells,).
    panels
        Vocabulary genes each source measured, bool, shape (n_sources, n_vocabulary).
    medians
        Medians of the vocabulary genes, float32, shape (n_vocabulary,).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = json.loads((folder / _META).read_text())
        self.indptr = np.load(folder / "indptr.npy")
        self.source = np.load(folder / "source.npy")
        self.panels = np.load(folder / "panels.npy")
        self.medians = np.load(folder / "medians.npy")
        self.tokens = _memory_map(folder / "tokens.bin", np.dtype(meta["token_type"]))
        self.values = _memory_map(folder / "values.bin", np.float16)

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.indptr) - 1

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path]]:
        """Let a process that is sent the store open it, rather than be sent its content."""
        return TokenStore, (self.folder,)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per cell, shape (n_cells,)."""
        return np.diff(self.indptr)

    def rows(self, cells: np.ndarray) -> TokenRows:
        """Read ``cells`` into memory."""
        lengths = self.indptr[cells + 1] - self.indptr[cells]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(indptr[-1]) + np.repeat(self.indptr[cells] - indptr[:-1], lengths)
        return TokenRows(indptr, self.tokens[where].astype(np.int32), self.values[where].astype(np.float32))


def _memory_map(path: Path, dtype: type | np.dtype) -> np.ndarray:
    """Memory-map a flat file; an empty file cannot be mapped."""
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype=dtype)
