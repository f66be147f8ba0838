"""How speed and memory of `pp.tokenize` and `tl.embed` go with cells, columns and tokens.

Columns are added, not left out: genes that the model does not know, 2 % of them expressed, so that the cells keep their
tokens. Tokens are left out: of the cells with most genes, the highest ranks alone are kept.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import scflyformer as sf

from .part import GENE_KEY, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anndata import AnnData

    from .settings import Settings

SHARE = 0.02
"""Share of an added column's cells that express it."""
COLUMNS, TOKENS = (2088, 8000, 16_000), (128, 512, 1024)


def with_columns(adata: AnnData, n: int) -> AnnData:
    """Return the cells with genes added that no model knows, up to ``n`` columns."""
    added = max(n - adata.n_vars, 0)
    more = sparse.random(adata.n_obs, added, density=SHARE, format="csr", dtype=np.float32, random_state=0)
    more.data[:] = 1
    var = pd.DataFrame({GENE_KEY: [f"unknown{place}" for place in range(added)]}, dtype=object)
    var.index = var[GENE_KEY].to_numpy()
    var = pd.concat([adata.var, var])
    return ad.AnnData(sparse.hstack([adata.X, more], format="csr"), obs=adata.obs, var=var)


def with_tokens(adata: AnnData, n_cells: int, n: int, model: Any) -> AnnData:
    """Return the cells with most genes, of each the ``n`` that are highest over the model's median."""
    adata = adata[np.sort(np.argsort(-np.diff(adata.X.indptr), kind="stable")[:n_cells])].copy()
    places = pd.Index(model.vocabulary.gene_ids).get_indexer(adata.var[GENE_KEY])
    medians = np.where(places < 0, np.inf, model.vocabulary.medians[places])  # what it does not know ranks last
    scaled = adata.X.data / medians[adata.X.indices]
    for start, stop in zip(adata.X.indptr[:-1], adata.X.indptr[1:], strict=True):
        adata.X.data[start:stop][np.argsort(-scaled[start:stop])[n:]] = 0
    adata.X.eliminate_zeros()
    return adata


class Growth(Part):
    """Tokenization, or embedding in float32, of ``n_cells`` cells with ``size`` cells, columns or tokens."""

    def __init__(self, settings: Settings, name: str, axis: str, size: int, n_cells: int, *, few: bool = False) -> None:
        super().__init__(settings, few=few)
        self.name, self.axis, self.size, self.n_cells = name, axis, size, n_cells

    def setup(self) -> None:
        """Make cells of this size."""
        super().setup()
        n = self.settings.some(0, 2000) if self.axis == "tokens" else self.n_cells
        self.adata = self.cells(n)
        if self.axis == "columns":
            self.adata = with_columns(self.adata, self.size)
        elif self.axis == "tokens":
            self.adata = with_tokens(self.adata, self.n_cells, self.size, sf.models.load(self.settings.model))
        self.units = self.adata.n_obs

    def ours(self) -> None:
        """Tokenize or embed."""
        work = sf.pp.tokenize if self.name == "tokenize" else sf.tl.embed
        with sf.settings.override(device=self.settings.device, dtype="float32"):
            work(self.adata, model=self.settings.model, gene_key=GENE_KEY)


def growths(settings: Settings) -> Iterator[tuple[str, str, dict[int, Callable[..., Part]]]]:
    """Yield a part, what grows, and what makes the part by size."""
    for name, cells, fixed in (
        ("tokenize", settings.some((5000, 10_000, 20_000), (500, 2000)), settings.some((5000, 3000), (500, 500))),
        ("embed", settings.some((500, 1000, 2000), (8, 32)), settings.some((500, 300), (16, 16))),
    ):
        yield name, "cells", {n: partial(Growth, name=name, axis="cells", size=n, n_cells=n) for n in cells}
        for axis, usual, n_cells in zip(("columns", "tokens"), (COLUMNS, TOKENS), fixed, strict=True):
            sizes = settings.some(usual, usual[::2])
            yield name, axis, {n: partial(Growth, name=name, axis=axis, size=n, n_cells=n_cells) for n in sizes}
