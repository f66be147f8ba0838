"""Speed of exact deletions beside a loop that does one cell at a time."""

from __future__ import annotations

import numpy as np

import scflyformer as sf

from .deletions import Deletions
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
