"""Small corpora made in code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp


@pytest.fixture
def make_store(tmp_path: Path) -> Callable:
    """Return a function that writes a token store of random counts: sources of given sizes, panels of given genes."""
    from scflyformer.training._store import CountWriter

    def make(
        n_cells: tuple[int, ...] = (30, 20),
        *,
        n_genes: int = 40,
        panels: np.ndarray | None = None,
        seed: int = 0,
        density: float = 0.5,
        counts: np.ndarray | None = None,
        medians: np.ndarray | None = None,
    ):
        random = np.random.default_rng(seed)
        panels = np.ones((len(n_cells), n_genes), dtype=bool) if panels is None else panels
        folder = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        if counts is None:
            shown = random.random((sum(n_cells), n_genes)) < density * random.uniform(0.3, 1, (sum(n_cells), 1))
            counts = (random.poisson(3, shown.shape) + 1) * shown * np.repeat(panels, n_cells, axis=0)
        with CountWriter(folder) as writer:
            for number, rows in enumerate(np.split(counts, np.cumsum(n_cells)[:-1])):
                writer.append(sp.csr_matrix(rows), number)
            written = writer.finish()
        medians = random.uniform(0.5, 9, n_genes).astype(np.float32) if medians is None else medians
        return written.rank(np.arange(n_genes), medians, panels), counts

    return make


@pytest.fixture(scope="session")
def make_source() -> Callable:
    """Return a function that makes an AnnData of counts with the genes named."""
    from anndata import AnnData

    def make(counts: np.ndarray, genes: list[str], **obs: list):
        index = [f"cell{number}" for number in range(len(counts))]
        frame = pd.DataFrame(obs, index=index)
        return AnnData(sp.csr_matrix(np.asarray(counts, np.float32)), obs=frame, var=pd.DataFrame(index=genes))

    return make


@pytest.fixture
def describe() -> Callable:
    """Return `describe_source` with nothing asked for."""
    from scflyformer.training._sources import CorpusRequest, describe_source

    def call(name: str, adata, **asked):
        return describe_source(name, adata, CorpusRequest(**asked))

    return call
