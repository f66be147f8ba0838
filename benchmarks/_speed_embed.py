"""Speed of `tl.embed` beside the plain loop over `BertForMaskedLM`, tokenization included in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from _perturb_speed import mlm_twin
from _speed_part import GENE_KEY, Line, Part
from _speed_reference import PlainLoop, tried

import scflyformer as sf


class Embed(Part):
    """Cells drawn at random, in the order of the file; the model's own pooling."""

    lines = (Line("float32"), Line("bfloat16", ours="bfloat16"))

    def setup(self) -> None:
        """Read cells and open the networks."""
        super().setup()
        self.adata = self.cells(self.settings.cells)
        self.units = self.adata.n_obs
        self.model: Any = self.open_model()
        self.loop = PlainLoop(self.model, device=self.settings.device)
        self.tried: dict[int, float] = {}

    def open_model(self) -> Any:
        """Return the model that both ways run."""
        return sf.models.load(self.settings.model)

    def embed(self, dtype: str) -> np.ndarray:
        """Return what `tl.embed` gives."""
        device = self.settings.device
        with sf.settings.override(device=device, dtype=dtype):
            sf.tl.embed(self.adata, model=self.model.path, gene_key=GENE_KEY)
        return self.adata.obsm["X_scflyformer"]

    def time_ours(self) -> None:
        """Embed in float32."""
        self.found["ours"] = self.embed("float32")

    def time_bfloat16(self) -> None:
        """Embed in bfloat16."""
        self.found["bfloat16"] = self.embed("bfloat16")

    def time_reference(self) -> None:
        """Embed with the plain loop."""
        self.found["reference"] = self.loop.embed(self.adata)

    def tune(self) -> None:
        """Let the reference choose its batch size."""
        self.tried = self.loop.tune(self.adata[: self.settings.some(400, 16)].copy())

    def note(self, line: Line) -> str:
        """Return cells, the largest difference, and the batch sizes tried."""
        gap = np.abs(self.found[line.ours] - self.found[line.reference]).max()
        said = f"{self.units:,} cells; largest difference {gap:.1e} of {np.abs(self.found[line.reference]).max():.1f}"
        return f"{said}; {tried(self.tried)}"


class EmbedMean(Embed):
    """The same encoder as a model of the article's kind: the mean over genes of the second-to-last layer."""

    lines = (Line("mean pooling, float32"),)

    def open_model(self) -> Any:
        """Return the mlm twin."""
        model = sf.models.load(self.settings.model)
        return mlm_twin(model, Path(self.settings.work, f"twin-{model.sha256[:12]}"))
