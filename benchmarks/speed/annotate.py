"""Speed of `tl.annotate` beside the plain embedding loop, a scaler and a logistic regression."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scflyformer as sf

from .embed import tuned
from .part import GENE_KEY, Line, Part
from .plain_loop import PlainLoop, tried

LABEL, SAMPLE = "cell_type", "batch"


class Annotate(Part):
    """Every other library is the reference, the others are labelled."""

    lines = (Line("reference and query cells, float32"),)

    def setup(self) -> None:
        """Draw cells of both sides and open the networks."""
        super().setup()
        cells = self.settings.draw(self.settings.some(1500, 400))
        small = self.few or self.settings.quick
        if small:  # few cells of many types teach nothing
            cells = cells[cells.obs[LABEL].isin(cells.obs[LABEL].value_counts().index[:4])].copy()
        teaches = cells.obs[SAMPLE].isin(np.unique(cells.obs[SAMPLE])[::2]).to_numpy()
        n = 40 if small else 1000
        self.reference_cells = cells[np.flatnonzero(teaches)[:: max(teaches.sum() // n, 1)][:n]].copy()
        self.query = cells[np.flatnonzero(~teaches)[:: max((~teaches).sum() // n, 1)][:n]].copy()
        self.units = self.reference_cells.n_obs + self.query.n_obs
        self.loop = PlainLoop(sf.models.load(self.settings.model), self.settings.batch, device=self.settings.device)

    def tune(self) -> None:
        """Let the reference choose its batch size."""
        self.settings, self.tried = tuned(self.settings, self.loop, self.query)

    def ours(self) -> np.ndarray:
        """Annotate with the package."""
        with sf.settings.override(device=self.settings.device, dtype="float32"):
            sf.tl.annotate(
                self.query, reference=self.reference_cells, label_key=LABEL, sample_key=SAMPLE,
                model=self.settings.model, gene_key=GENE_KEY, baselines="none",
            )  # fmt: skip
        return self.query.obs["annotation_best"].to_numpy(dtype=str)

    def reference(self) -> np.ndarray:
        """Embed with the plain loop, standardise, fit, predict."""
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(self.loop.embed(self.reference_cells), self.reference_cells.obs[LABEL].to_numpy(dtype=str))
        return classifier.predict(self.loop.embed(self.query))

    def note(self, line: Line) -> str:
        """Return the cells, what ours does beyond the reference, and how often the labels are right."""
        truth = self.query.obs[LABEL].to_numpy(dtype=str)
        right = [(self.found[side] == truth).mean() for side in (line.ours, line.reference)]
        return (
            f"{self.reference_cells.n_obs:,} + {self.query.n_obs:,} cells; ours also tests and calibrates on held-out "
            f"libraries and tunes the penalty; right labels {right[0]:.1%}, reference {right[1]:.1%}; "
            f"{tried(self.tried)}"
        )
