"""Speed of `tl.embed` beside the plain loop over `BertForMaskedLM`, tokenization included in both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import scflyformer as sf

from .deletions import mlm_twin
from .part import GENE_KEY, Line, Part
from .plain_loop import PlainLoop, tried

if TYPE_CHECKING:
    from anndata import AnnData

    from .settings import Settings


def tuned(settings: Settings, loop: PlainLoop, cells: AnnData) -> tuple[Settings, dict[int, float]]:
    """Let the loop choose its batch size; return settings with it, and the cells a second of each size tried."""
    rates = loop.tune(cells[: settings.some(400, 16)].copy())
    return replace(settings, batch=loop.batch), rates


class Embed(Part):
    """Cells drawn at random, in the order of the file; the model's own pooling."""

    lines = (Line("float32"), Line("bfloat16", ours="bfloat16"))

    def setup(self) -> None:
        """Read cells and open the networks."""
        super().setup()
        self.adata = self.cells(self.settings.cells)
        self.units = self.adata.n_obs
        self.model: Any = self.open_model()
        self.loop = PlainLoop(self.model, self.settings.batch, device=self.settings.device)

    def open_model(self) -> Any:
        """Return the model that both ways run."""
        return sf.models.load(self.settings.model)

    def tune(self) -> None:
        """Let the reference choose its batch size."""
        self.settings, self.tried = tuned(self.settings, self.loop, self.adata)

    def embed(self, dtype: str) -> np.ndarray:
        """Return what `tl.embed` gives."""
        with sf.settings.override(device=self.settings.device, dtype=dtype):
            sf.tl.embed(self.adata, model=self.model.path, gene_key=GENE_KEY)
        return self.adata.obsm["X_scflyformer"]

    def ours(self) -> np.ndarray:
        """Embed in float32."""
        return self.embed("float32")

    def bfloat16(self) -> np.ndarray:
        """Embed in bfloat16."""
        return self.embed("bfloat16")

    def reference(self) -> np.ndarray:
        """Embed with the plain loop."""
        return self.loop.embed(self.adata)

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
        return mlm_twin(model, self.settings.work / f"twin-{model.sha256[:12]}")
