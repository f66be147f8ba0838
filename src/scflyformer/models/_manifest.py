"""Which cells a model was trained on: fingerprints by training set, in a file of the model's folder.

A fingerprint is cut to a number below ``n_buckets`` × 2^bits, where ``n_buckets`` is the number of different cells. The
numbers ascend; of each the low bits are kept as they are, and the others as a string of bits (Elias-Fano): 10 or 18
bits a cell. A cell that was not there matches by chance with a probability of 1/256 or 1/65536.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from scflyformer.tokens._fingerprints import fingerprints, gene_keys, telling_genes

from ._errors import ModelFolderError

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.genes._vocabulary import Vocabulary

    from ._model import Model

FILE = "cells.safetensors"
Use = Literal["pretraining", "adaptation", "labels", "ages"]
UNLABELLED: tuple[Use, ...] = ("pretraining", "adaptation")
_LOW = {8: np.uint8, 16: np.uint16}
Chunks = Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]]
"""Gives cells chunk by chunk: a row pointer, and the vocabulary positions of the genes that each expresses."""


@dataclass(frozen=True, eq=False)
class CellSet:
    """The cells of one training set.

    Attributes
    ----------
    name, use
        What it is called, and what was learnt from it; ``"labels"`` and ``"ages"`` were learnt with it.
    n_cells
        How many cells were used, those without a fingerprint included.
    genes
        Genes that fingerprints look at: positions in the model's vocabulary, ascending, shape (n_genes,).
    values
        Fingerprints, cut to a number below ``n_buckets`` << ``bits``, each once, ascending, uint64, shape (n_values,).
    """

    name: str
    use: Use
    n_cells: int
    genes: np.ndarray
    values: np.ndarray
    n_buckets: int
    bits: int = 16

    @classmethod
    def of(cls, name: str, use: Use, chunks: Chunks, keys: np.ndarray, measured: np.ndarray, *, bits: int = 16) -> Self:
        """Return the set of the cells that ``chunks`` gives; it is called twice.

        ``keys`` are those of the vocabulary's genes, ``measured`` which of them the set measured, shape (n_genes,).
        """
        n_expressing, n_cells = np.zeros(len(keys), dtype=np.int64), 0
        for indptr, genes in chunks():
            n_expressing += np.bincount(genes, minlength=len(keys))
            n_cells += len(indptr) - 1
        chosen = telling_genes(n_expressing, n_cells, measured)
        parts = [np.empty(0, np.uint64)]
        for indptr, genes in chunks():
            sums, counts = fingerprints(indptr, genes, keys, [chosen])
            parts.append(sums[counts[:, 0], 0])
        found = np.unique(np.concatenate(parts))
        span = np.uint64(max(len(found), 1) << bits)
        return cls(name, use, n_cells, chosen.astype(np.int64), np.unique(found % span), len(found), bits)

    @property
    def chance(self) -> float:
        """Probability that a cell that was not there matches one."""
        return len(self.values) / (self.n_buckets << self.bits) if self.n_buckets else 0.0

    def holds(self, sums: np.ndarray) -> np.ndarray:
        """Return which fingerprints are among those of the set, bool."""
        if not len(self.values):
            return np.zeros(len(sums), dtype=bool)
        cut = sums % np.uint64(self.n_buckets << self.bits)
        place = np.minimum(np.searchsorted(self.values, cut), len(self.values) - 1)
        return self.values[place] == cut


@dataclass(frozen=True, eq=False)
class Manifest:
    """The training cells of a model.

    Attributes
    ----------
    salt
        What the genes' keys are made with.
    sets
        The training sets.
    unknown
        Names of models that it was trained from and whose cells are not known.
    """

    salt: bytes
    sets: tuple[CellSet, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def new(cls, vocabulary: Vocabulary) -> Self:
        """Return one without sets, for a model that starts with this vocabulary."""
        return cls(blake2b("\n".join(vocabulary.gene_ids.tolist()).encode(), digest_size=8).digest())

    @classmethod
    def of_model(cls, model: Model) -> Self:
        """Return that of a model; where it has none, one that says so."""
        found = cls.read(model.path, model.vocabulary.n_genes)
        return cls(cls.new(model.vocabulary).salt, unknown=(model.name,)) if found is None else found

    def keys(self, vocabulary: Vocabulary) -> np.ndarray:
        """Return the keys of the vocabulary's genes, uint64, shape (n_genes,)."""
        return gene_keys(vocabulary.gene_ids.tolist(), self.salt)

    def add(self, sets: Iterable[CellSet]) -> Self:
        """Return one with further sets."""
        return type(self)(self.salt, (*self.sets, *sets), self.unknown)

    def of_use(self, uses: Sequence[Use]) -> Self:
        """Return one with the sets of these uses alone."""
        return type(self)(self.salt, tuple(each for each in self.sets if each.use in uses), self.unknown)

    def write(self, folder: Path) -> None:
        """Write the file into a folder; the same content gives the same bytes."""
        from safetensors.numpy import save_file

        tensors = {}
        for number, each in enumerate(self.sets):
            bits = np.uint64(each.bits)
            marks = np.zeros(len(each.values) + each.n_buckets, dtype=bool)
            marks[(each.values >> bits).astype(np.int64) + np.arange(len(each.values))] = True
            tensors[f"{number}.genes"] = each.genes.astype(
                np.uint32 if each.genes.max(initial=0) > 65535 else np.uint16
            )
            tensors[f"{number}.low"] = (each.values & np.uint64((1 << each.bits) - 1)).astype(_LOW[each.bits])
            tensors[f"{number}.high"] = np.packbits(marks)
        about = [
            {"name": each.name, "use": each.use, "n_cells": each.n_cells, "n_buckets": each.n_buckets}
            for each in self.sets
        ]
        content = {"format": 1, "salt": self.salt.hex(), "sets": about, "unknown": list(self.unknown)}
        save_file(tensors, folder / FILE, metadata={"cells": json.dumps(content)})

    @classmethod
    def read(cls, folder: Path, n_genes: int) -> Self | None:
        """Read and check the file of a folder; `None` where there is none.

        ``n_genes`` is the number of genes of the model's vocabulary.

        Raises
        ------
        ModelFolderError
            When the file is damaged, or does not fit the vocabulary.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                content = json.loads((file.metadata() or {})["cells"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            if content["format"] != 1:
                raise ValueError(f"its format is {content['format']!r}; this version reads format 1")
            sets = tuple(_read_set(about, number, tensors, n_genes) for number, about in enumerate(content["sets"]))
            salt, unknown = bytes.fromhex(content["salt"]), tuple(map(str, content["unknown"]))
            if not 1 <= len(salt) <= 64:
                raise ValueError(f"its salt has {len(salt)} bytes")
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelFolderError(
                f"{path}, the list of training cells, cannot be used: {what}. Copy or fetch the folder again, whole; "
                f"without that file the model runs, and its training cells are not known."
            ) from error
        return cls(salt, sets, unknown)


def _read_set(about: dict[str, Any], number: int, tensors: dict[str, np.ndarray], n_genes: int) -> CellSet:
    """Return a set as it was written; an error where its parts do not fit each other or the vocabulary."""
    genes, low, high = (tensors[f"{number}.{part}"] for part in ("genes", "low", "high"))
    name, use, n_cells, n_buckets = (about[key] for key in ("name", "use", "n_cells", "n_buckets"))
    bits = next((bits for bits, kind in _LOW.items() if low.dtype == kind), 0)
    typed = isinstance(name, str) and use in get_args(Use) and type(n_cells) is int and type(n_buckets) is int
    if not typed or not bits or high.dtype != np.uint8 or any(part.ndim != 1 for part in (genes, low, high)):
        raise ValueError(f"set {number} is of another form")
    positions = genes.astype(np.int64)
    if (np.diff(positions) <= 0).any() or (len(positions) and positions[-1] >= n_genes):
        raise ValueError(f"the genes of set {name!r} do not fit a vocabulary of {n_genes}")
    n_bits = len(low) + n_buckets
    if n_buckets < len(low) or n_cells < n_buckets or len(high) != -(-n_bits // 8):
        raise ValueError(f"the numbers of set {name!r} do not fit each other")
    marks = np.flatnonzero(np.unpackbits(high, count=n_bits))
    if len(marks) != len(low):
        raise ValueError(f"set {name!r} has {len(low)} cells and marks for {len(marks)}")
    values = ((marks - np.arange(len(marks))).astype(np.uint64) << np.uint64(bits)) | low.astype(np.uint64)
    if (values[1:] <= values[:-1]).any():
        raise ValueError(f"the cells of set {name!r} are in no order")
    return CellSet(name, use, n_cells, positions, values, n_buckets, bits)
