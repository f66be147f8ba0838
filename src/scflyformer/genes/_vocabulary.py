"""The gene vocabulary of a model: a plain, versioned table that any text editor opens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

PAD, MASK, CELL = 0, 1, 2
SPECIALS = ("<pad>", "<mask>", "<cell>")
N_SPECIAL = len(SPECIALS)
HIDDEN_VALUE = -1.0
"""A value below zero says "not shown": masked tokens carry it."""
_TEXT = {"gene_id": str, "symbol": str, "synonyms": str}
COLUMNS = ("token_id", "gene_id", "symbol", "median", "n_cells", "synonyms")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Genes a model knows, in token order: gene ``i`` has token id ``i + N_SPECIAL``. Arrays of shape (n_genes,)."""

    gene_ids: np.ndarray  # primary ids, unique
    symbols: np.ndarray  # current symbols
    medians: np.ndarray  # non-zero median of counts per 10,000 over the pretraining corpus, float32
    n_cells: np.ndarray  # corpus cells that express the gene, int64
    synonyms: np.ndarray  # further names joined by ``|``; empty where there are none

    def __post_init__(self) -> None:
        """Refuse a table that would resolve genes wrongly."""
        if len(np.unique(self.gene_ids)) != len(self.gene_ids):
            raise ValueError("The vocabulary holds the same gene id more than once; expected unique gene ids.")
        if not (np.isfinite(self.medians).all() and (self.medians > 0).all()):
            raise ValueError("The vocabulary holds medians that are not positive and finite.")

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return len(self.gene_ids)

    @property
    def n_tokens(self) -> int:
        """Number of token ids, special tokens included."""
        return self.n_genes + N_SPECIAL

    @cached_property
    def names(self) -> np.ndarray:
        """What people read: the symbol, or the gene id where there is none, shape (n_genes,)."""
        return np.where(self.symbols == "", self.gene_ids, self.symbols)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read ``vocab.tsv``; an error where columns are missing or the special tokens do not come first, from 0 on."""
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=_TEXT)
        missing = [name for name in COLUMNS[:5] if name not in table]
        if missing:
            raise ValueError(f"{path} lacks the column(s) {missing}; expected {list(COLUMNS)}, got {list(table)}.")
        if not np.array_equal(table["token_id"], np.arange(len(table))):
            raise ValueError(f"{path}: token ids must run from 0 to {len(table) - 1} in order.")
        if tuple(table["gene_id"].iloc[:N_SPECIAL]) != SPECIALS:
            raise ValueError(f"{path}: the first rows must be the special tokens {SPECIALS}.")
        genes = table.iloc[N_SPECIAL:]
        synonyms = genes["synonyms"] if "synonyms" in genes else pd.Series([""] * len(genes))
        return cls(
            gene_ids=genes["gene_id"].to_numpy(dtype=str),
            symbols=genes["symbol"].to_numpy(dtype=str),
            medians=genes["median"].to_numpy(dtype=np.float32),
            n_cells=genes["n_cells"].to_numpy(dtype=np.int64),
            synonyms=synonyms.to_numpy(dtype=str),
        )

    def write(self, path: Path) -> None:
        """Write ``vocab.tsv``; medians keep six significant digits, so a round trip is exact after the first."""
        specials = pd.DataFrame({"gene_id": SPECIALS, "symbol": SPECIALS, "median": "1", "n_cells": 0, "synonyms": ""})
        genes = pd.DataFrame(
            {
                "gene_id": self.gene_ids,
                "symbol": self.symbols,
                "median": [f"{median:.6g}" for median in self.medians],
                "n_cells": self.n_cells,
                "synonyms": self.synonyms,
            }
        )
        table = pd.concat([specials, genes], ignore_index=True)
        table.insert(0, "token_id", np.arange(len(table)))
        table.to_csv(path, sep="\t", index=False)
