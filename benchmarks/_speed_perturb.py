"""Speed of exact deletions beside a loop that does one cell at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _perturb_speed import Deletions
from _speed_part import Line, Part
from _speed_settings import DATA_SET

import scflyformer as sf

BATCH = 100


class Perturb(Part):
    """Single deletions in two cells of about the median length, float32."""

    what = "perturbations"
    lines = (Line("deletions, same network"), Line("deletions, the model's own pooling", ours="own"))

    def setup(self) -> None:
        """Draw cells and open the networks."""
        super().setup()
        model = sf.models.load(self.settings.model)
        small = self.few or self.settings.quick
        copies = 2 if self.few else self.settings.some(BATCH, 10)
        self.ready = Deletions.prepare(
            self.settings.folder(500) / "fly" / f"{DATA_SET}.h5ad",
            model,
            Path(self.settings.work, f"twin-{model.sha256[:12]}"),
            n_cells=2,
            n_copies=copies,
            n_others=4 if small else 50,
        )
        self.ready.bert.to(self.settings.device)
        self.units = len(self.ready.sets)

    def time_ours(self) -> None:
        """Delete by the package's stream, with the network of the loop."""
        self.found["ours"] = self.ready.stream()

    def time_own(self) -> None:
        """Delete by the package's stream as `tl.perturb` runs it."""
        self.found["own"] = self.ready.stream(own=True)

    def time_reference(self) -> None:
        """Delete by the loop."""
        self.found["reference"] = self.ready.loop(batch=BATCH)

    def note(self, line: Line) -> str:
        """Return the deletions, and how far the shifts agree."""
        said = f"{self.units} deletions in cells of {self.ready.rows.lengths.mean():.0f} genes; batches of {BATCH}"
        if line.ours != "ours":
            return f"{said}; shifts differ, as the network does"
        gap = np.abs(self.found["ours"] - self.found["reference"]).max()
        return f"{said}; largest difference {gap:.1e} of {np.abs(self.found['reference']).max():.1e}"
