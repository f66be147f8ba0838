"""Files that Geneformer reads: cells, and its dictionaries for the genes of a fly model. No human model is needed."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer.genes._vocabulary import MASK, N_SPECIAL, PAD

from .geneformer_process import GeneformerError
from .geneformer_worker import CELL, START, STATE
from .part import GENE_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from scflyformer.genes._vocabulary import Vocabulary


@dataclass(frozen=True)
class Size:
    """What the configuration of a network says."""

    n_tokens: int
    max_len: int
    width: int
    n_layers: int

    @classmethod
    def of(cls, folder: Path, vocabulary: Vocabulary) -> Size:
        """Read ``config.json``; an error where the network has too few tokens for the vocabulary."""
        config = json.loads((folder / "config.json").read_text())
        names = ["vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers"]
        missing = [name for name in names if name not in config]
        if missing:
            raise GeneformerError(
                f"{folder / 'config.json'} lacks {', '.join(missing)}; expected that of a BertForMaskedLM."
            )
        size = cls(*(int(config[name]) for name in names))
        if size.n_tokens < vocabulary.n_tokens:
            raise GeneformerError(
                f"The network in {folder} has {size.n_tokens:,} tokens, the fly model {vocabulary.n_tokens:,}; "
                "expected as many at least. Name a larger one by --geneformer-model, or a smaller fly model by --model."
            )
        return size


def write_dictionaries(folder: Path, vocabulary: Vocabulary) -> dict[str, str]:
    """Write tokens, medians and the mapping of ids as pickles; return their paths by the names the worker knows.

    It looks genes up by upper-case ids. Tokens have the numbers that they have in the model.
    """
    names = [str(name).upper() for name in vocabulary.gene_ids]
    tables: dict[str, dict[str, Any]] = {
        "tokens": {"<pad>": PAD, "<mask>": MASK} | {name: place + N_SPECIAL for place, name in enumerate(names)},
        "medians": dict(zip(names, vocabulary.medians.astype(float).tolist(), strict=True)),
        "mapping": {name: name for name in names},
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, table in tables.items():
        path = folder / f"{kind}.pickle"
        path.write_bytes(pickle.dumps(table))
        paths[kind] = str(path)
    return paths


def write_cells(folder: Path, adata: ad.AnnData) -> Path:
    """Write cells so that both can read them: upper-case ids in `var`, total counts in `obs`; return the file."""
    counts = sparse.csr_matrix(adata.X, dtype=np.float32)
    names = adata.obs_names.to_numpy(dtype=str)
    obs = pd.DataFrame({"n_counts": np.asarray(counts.sum(axis=1)).ravel(), CELL: names, STATE: START}, index=names)
    var = adata.var[[GENE_KEY]].astype(str)
    var["ensembl_id"] = var[GENE_KEY].str.upper()
    folder.mkdir(parents=True, exist_ok=True)
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"
