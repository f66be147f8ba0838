"""Speed of exact deletions and of a plain loop over cells; of the first-order screen and exact deletions."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

import scflyformer as sf
from scflyformer.network._infer import embed_rows
from scflyformer.perturbation._first_order import first_order_changes

from .deletions import FLOAT32, Deletions, draw_cells, stream
from .part import Line, Part

BATCH = 100


class Perturb(Part):
    """Single deletions in two cells of about the median length, float32."""

    what = "perturbations"
    lines = (Line("deletions, same network"), Line("deletions, the model's own pooling", ours="own"))

    def setup(self) -> None:
        """Draw cells and open the networks."""
        super().setup()
        model = sf.models.load(self.settings.model)
        self.ready = Deletions.prepare(
            self.settings.file(500),
            model,
            self.settings.work / f"twin-{model.sha256[:12]}",
            n_cells=2,
            n_copies=2 if self.few else self.settings.some(BATCH, 10),
            n_others=4 if self.few or self.settings.quick else 50,
        )
        self.ready.bert.to(self.settings.device)
        self.units = len(self.ready.sets)

    def ours(self) -> np.ndarray:
        """Delete by the package's stream, with the network of the loop."""
        return self.ready.stream()

    def own(self) -> np.ndarray:
        """Delete by the package's stream as `tl.perturb` runs it."""
        return self.ready.stream(own=True)

    def reference(self) -> np.ndarray:
        """Delete by the loop."""
        return self.ready.loop(batch=BATCH)

    def note(self, line: Line) -> str:
        """Return the deletions, and how far the shifts agree."""
        said = f"{self.units} deletions in cells of {self.ready.rows.lengths.mean():.0f} genes; batches of {BATCH}"
        if line.ours != "ours":
            return f"{said}; shifts differ, as the network does"
        gap = np.abs(self.found["ours"] - self.found["reference"]).max()
        return f"{said}; largest difference {gap:.1e} of {np.abs(self.found['reference']).max():.1e}"


SAMPLES = 18
"""Sums of embeddings against which `tl.perturb` holds a cell where states come from that many samples."""


class Screen(Part):
    """All genes of a few cells: the first-order screen, and exact deletions by the package's stream, float32."""

    what = "perturbations"
    lines = (
        Line("screen, one goal, and exact deletions"),
        Line(f"screen, {SAMPLES} samples, and exact deletions", ours="by_sample"),
    )

    def setup(self) -> None:
        """Draw cells and open the network."""
        super().setup()
        self.model = sf.models.load(self.settings.model)
        n_cells = 2 if self.few else self.settings.some(12, 3)
        self.rows, others = draw_cells(self.settings.file(500), self.model, n_cells)
        vectors = embed_rows(self.model.network(), others, pooling=self.model.pooling, running=FLOAT32)
        self.goal = vectors.astype(np.float64).mean(0)
        parts = np.array_split(vectors.astype(np.float64), min(SAMPLES, len(vectors)))
        self.sums = np.stack([part.sum(0) for part in parts])
        self.units = len(self.rows.tokens)

    def ours(self) -> np.ndarray:
        """Estimate all shifts at once."""
        return self.estimate(self.goal[None])[:, 0] / np.linalg.norm(self.goal)

    def by_sample(self) -> np.ndarray:
        """Estimate them from changes towards each sample, as `tl.perturb` does to permute the samples' states."""
        return self.estimate(self.sums).sum(1) / np.linalg.norm(self.sums.sum(0))

    def estimate(self, goals: np.ndarray) -> np.ndarray:
        """Return changes of the dot product with each goal, shape (n_tokens, n_goals)."""
        model = self.model
        return first_order_changes(model.network(), self.rows, goals, pooling=model.pooling, running=FLOAT32).total

    def reference(self) -> np.ndarray:
        """Delete gene by gene."""
        pairs = np.repeat(np.arange(len(self.rows)), self.rows.lengths), np.arange(self.units)
        sets = self.rows.tokens[:, None].astype(np.int32)
        return stream(self.model.network(), self.rows, sets, pairs, self.goal, self.model.pooling)

    def note(self, line: Line) -> str:
        """Return the deletions, and how well both rank them, and the means of genes found in half of the cells."""
        both = np.stack([self.found[line.ours], self.found["reference"]])
        known = np.isfinite(both).all(axis=0)
        _, code, size = np.unique(self.rows.tokens[known], return_inverse=True, return_counts=True)
        means = [np.bincount(code, weights=values[known]) / size for values in both]
        often = size >= min(10, max(2, len(self.rows) // 2))
        by_pair, by_gene = spearmanr(*both[:, known]).statistic, spearmanr(*(each[often] for each in means)).statistic
        return (
            f"{self.units:,} deletions in {len(self.rows)} cells; Spearman {by_pair:.3f} over deletions, {by_gene:.3f} "
            f"over {often.sum()} genes"
        )
