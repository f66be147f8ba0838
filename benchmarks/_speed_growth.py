"""How speed and memory of `pp.tokenize` and `tl.embed` go with cells, columns and tokens.

Columns are added, not left out: genes that the model does not know, 2 % of them expressed, so that the cells keep their
tokens. Tokens are left out: of the cells with most genes, the highest ranks alone are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from _speed_part import GENE_KEY, Timed
from _speed_settings import Settings
from scipy import sparse

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData

SHARE = 0.02
"""Share of an added column's cells that express it."""


def with_columns(adata: AnnData, n: int) -> AnnData:
    """Return the cells with genes added that no model knows, up to ``n`` columns."""
    added = max(n - adata.n_vars, 0)
    more = sparse.random(adata.n_obs, added, density=SHARE, format="csr", dtype=np.float32, random_state=0)
    more.data[:] = 1
    var = pd.DataFrame({GENE_KEY: [f"unknown{place}" for place in range(added)]}, dtype=object)
    var.index = var[GENE_KEY].to_numpy()
    var = pd.concat([adata.var, var])
    return ad.AnnData(sparse.hstack([adata.X, more], format="csr"), obs=adata.obs, var=var)


def with_tokens(adata: AnnData, n_cells: int, n: int, medians: np.ndarray) -> AnnData:
    """Return the cells with most genes, of each the ``n`` that are highest over their median."""
    adata = adata[np.sort(np.argsort(-np.diff(adata.X.indptr), kind="stable")[:n_cells])].copy()
    scaled = adata.X.data / medians[adata.X.indices]
    for start, stop in zip(adata.X.indptr[:-1], adata.X.indptr[1:], strict=True):
        adata.X.data[start:stop][np.argsort(-scaled[start:stop])[n:]] = 0
    adata.X.eliminate_zeros()
    return adata


def known_medians(adata: AnnData, model: Any) -> np.ndarray:
    """Return the model's median of each column; infinite where it does not know the gene, which then ranks last."""
    places = pd.Index(model.vocabulary.gene_ids).get_indexer(adata.var[GENE_KEY])
    return np.where(places < 0, np.inf, model.vocabulary.medians[places])


class Growth(Timed):
    """Cells of several numbers, columns or tokens; ``axis`` says of what, ``params`` how many."""

    part, axis = "", "cells"
    n_cells: int

    def setup(self, size: int) -> None:
        """Make cells of this size."""
        super().setup()
        self.model: Any = sf.models.load(self.settings.model)
        n = size if self.axis == "cells" else self.n_cells
        self.adata = self.cells(self.settings.some(0, 2000) if self.axis == "tokens" else n)
        if self.axis == "columns":
            self.adata = with_columns(self.adata, size)
        elif self.axis == "tokens":
            self.adata = with_tokens(self.adata, n, size, known_medians(self.adata, self.model))
        self.units = self.adata.n_obs

    def peakmem_ours(self, size: int) -> None:
        """Memory, for asv."""
        self.call("ours")(size)


class GrowingTokenize(Growth):
    """Tokenization."""

    part = "tokenize"

    def time_ours(self, size: int) -> None:
        """Tokenize."""
        sf.pp.tokenize(self.adata, model=self.settings.model, gene_key=GENE_KEY)


class GrowingEmbed(Growth):
    """Embedding in float32."""

    part = "embed"

    def time_ours(self, size: int) -> None:
        """Embed."""
        with sf.settings.override(device=self.settings.device, dtype="float32"):
            sf.tl.embed(self.adata, model=self.settings.model, gene_key=GENE_KEY)


def _sizes(usual: tuple[int, ...], quick: tuple[int, ...]) -> list[list[int]]:
    return [list(quick if Settings.current().quick else usual)]


def _some(usual: int, quick: int) -> int:
    return Settings.current().some(usual, quick)


COLUMNS, TOKENS = (2088, 8000, 16_000), (128, 512, 1024)


class TokenizeByCells(GrowingTokenize):
    """Cells at random."""

    params, param_names = _sizes((5000, 10_000, 20_000), (500, 2000)), ["cells"]


class TokenizeByColumns(GrowingTokenize):
    """The same cells in wider files."""

    axis, n_cells = "columns", _some(5000, 500)
    params, param_names = _sizes(COLUMNS, COLUMNS[::2]), ["columns"]


class TokenizeByTokens(GrowingTokenize):
    """The same cells, cut."""

    axis, n_cells = "tokens", _some(3000, 500)
    params, param_names = _sizes(TOKENS, TOKENS[::2]), ["tokens"]


class EmbedByCells(GrowingEmbed):
    """Cells at random."""

    params, param_names = _sizes((500, 1000, 2000), (8, 32)), ["cells"]


class EmbedByColumns(GrowingEmbed):
    """The same cells in wider files."""

    axis, n_cells = "columns", _some(500, 16)
    params, param_names = _sizes(COLUMNS, COLUMNS[::2]), ["columns"]


class EmbedByTokens(GrowingEmbed):
    """The same cells, cut."""

    axis, n_cells = "tokens", _some(300, 16)
    params, param_names = _sizes(TOKENS, TOKENS[::2]), ["tokens"]


GROWTH = (TokenizeByCells, TokenizeByColumns, TokenizeByTokens, EmbedByCells, EmbedByColumns, EmbedByTokens)
