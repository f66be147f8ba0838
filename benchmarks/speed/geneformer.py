"""Speed beside a checkout of Geneformer that the user names: the same cells, in turns, in a process of its own.

Both run the mlm twin of the model, unless another network is named: the same weights, tokens and layer.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import scflyformer as sf
from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.network._infer import embed_rows

from .deletions import FLOAT32, stream
from .geneformer_part import Beside
from .geneformer_process import GeneformerError
from .geneformer_worker import CELL
from .part import GENE_KEY, Line


class Tokenize(Beside):
    """From a file on disk to ranked genes: in memory, and in its own format on disk."""

    lines = (Line("tokens"),)

    def tune(self) -> None:
        """It has no batches to choose."""

    def ours(self) -> np.ndarray:
        """Read and rank."""
        adata = ad.read_h5ad(self.file)
        sf.pp.tokenize(adata, model=self.model.path, gene_key=GENE_KEY)
        return adata.obsm["tokens"]

    def reference(self) -> None:
        """Let it read, rank and write."""
        self.timed(self.rank())

    def note(self, line: Line) -> str:
        """Return the cells first."""
        return f"{self.units:,} cells, files read; {super().note(line)}"


class Embed(Beside):
    """Ours reads and ranks the cells as well; the reference has them ranked, and opens the network at each call."""

    lines = (Line("embedding"),)

    def ours(self) -> np.ndarray:
        """Read, rank and embed in float32."""
        adata = ad.read_h5ad(self.file)
        with sf.settings.override(device=self.settings.device, dtype="float32"):
            sf.tl.embed(adata, model=self.model.path, gene_key=GENE_KEY)
        return adata.obsm["X_scflyformer"]

    def reference(self) -> np.ndarray:
        """Let it embed; return vectors in the order of the file, as it sorts cells by length."""
        self.timed(self.ask("embed", dataset=self.dataset, batch=self.batch))
        found = pd.read_csv(self.folder / "embed" / "cells.csv", index_col=0, dtype={CELL: str}).set_index(CELL)
        if sorted(found.index) != sorted(self.names):
            raise GeneformerError(
                f"It embedded {len(found):,} cells; expected the {len(self.names):,} of the file, each once."
            )
        return found.loc[self.names].to_numpy()

    def note(self, line: Line) -> str:
        """Return how far vectors agree; ties in rank are broken differently, which moves a few."""
        said = f"{self.units:,} cells"
        if self.same:
            gap = np.abs(self.found["ours"] - self.found["reference"]).max(axis=1)
            said += f"; largest difference {np.median(gap):.1e} in the median cell, {gap.max():.1e} in any"
        return f"{said}; {super().note(line)}"


class Delete(Beside):
    """All genes of a few cells of about the median length, one by one, from ranked cells; float32."""

    lines = (Line("deletion of all genes"),)
    what = "perturbations"

    def draw(self) -> ad.AnnData:
        """Choose cells, and the centroid that deletions are held against."""
        n = 1 if self.few else self.settings.some(4, 2)
        adata = self.settings.draw(500)
        rows, _ = _adata.token_rows(adata, self.model, Reading(gene_key=GENE_KEY), progress=False)
        rows = rows.cut(self.model.bert_len)
        middle = np.argsort(np.abs(rows.lengths - np.median(rows.lengths)), kind="stable")
        chosen, others = np.sort(middle[:n]), np.sort(middle[-self.settings.some(50, 4) :])
        self.rows = rows.take(chosen)
        vectors = embed_rows(self.model.network(), rows.take(others), pooling=self.model.pooling, running=FLOAT32)
        self.goal = vectors.astype(np.float64).mean(0)
        self.units = len(self.rows.tokens)
        return adata[chosen].copy()

    def ours(self) -> np.ndarray:
        """Delete by the package's stream."""
        pairs = np.repeat(np.arange(len(self.rows)), self.rows.lengths), np.arange(self.units)
        sets = self.rows.tokens[:, None].astype(np.int32)
        return stream(self.model.network(), self.rows, sets, pairs, self.goal, self.model.pooling)

    def reference(self) -> dict[int, float]:
        """Let it delete; return the mean shift of each token. A network of another width has another goal."""
        goal = self.goal if self.same else np.ones(self.size.width)
        reply = self.timed(self.ask("delete", dataset=self.dataset, batch=self.batch, goal=goal.tolist()))
        self.theirs = sum(len(values) for values in reply["shifts"].values())
        if self.theirs < self.units or (self.same and self.theirs != self.units):
            raise GeneformerError(
                f"It did {self.theirs:,} deletions; expected {self.units:,}, one for each gene of a cell."
            )
        return {int(token): float(np.mean(values)) for token, values in reply["shifts"].items()}

    def by_its_rule(self) -> np.ndarray:
        """Return each shift by the package's network as Geneformer counts it: before, with the gene's own vector."""
        copies = self.rows.take(np.repeat(np.arange(len(self.rows)), self.rows.lengths))
        keep = np.ones(len(copies.tokens), dtype=bool)
        keep[copies.indptr[:-1] + np.concatenate([np.arange(length) for length in self.rows.lengths])] = False
        goal = self.goal / np.linalg.norm(self.goal)
        before, after = (
            embed_rows(self.model.network(), rows, pooling=self.model.pooling, running=FLOAT32).astype(np.float64)
            for rows in (self.rows, copies.select(keep))
        )
        before, after = (each @ goal / np.linalg.norm(each, axis=1) for each in (before, after))
        return after - np.repeat(before, self.rows.lengths)

    def note(self, line: Line) -> str:
        """Return the deletions, and how far the mean shifts of genes agree once both are counted by its rule."""
        said = f"{self.units:,} deletions in {len(self.rows)} cells"
        if self.same:
            tokens, code, size = np.unique(self.rows.tokens, return_inverse=True, return_counts=True)
            ours = np.bincount(code, weights=self.by_its_rule()) / size
            theirs = np.array([self.found["reference"].get(token, np.nan) for token in tokens.tolist()])
            known = np.isfinite(theirs)
            gap, alike = np.abs(ours - theirs)[known].max(), spearmanr(ours[known], theirs[known]).statistic
            said += f"; by its rule, Spearman {alike:.3f} over {known.sum()} genes, largest difference {gap:.1e}"
        return f"{said}; {super().note(line)}"
