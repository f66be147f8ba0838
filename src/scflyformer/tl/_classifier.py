"""A cell-type classifier as it is applied to cells and kept in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scflyformer.tl import _features

if TYPE_CHECKING:
    import numpy as np

    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead
    from scflyformer.stats._novelty import Novelty


@dataclass(frozen=True, eq=False)
class Classifier:
    """A readout of a model's embedding.

    Attributes
    ----------
    model
        The model.
    head
        Takes the embedding, gives logits.
    temperature
        Of the logits.
    novelty
        How strange a cell is, from the embedding's contrast columns and the logits.
    """

    model: Model
    head: LinearHead
    temperature: float
    novelty: Novelty

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated probabilities (n_cells, n_classes) and novelty (n_cells,) from an embedding."""
        from scflyformer.stats._classification import softmax

        logits = self.head(x)
        return softmax(logits, self.temperature), self.novelty(x[:, _features.contrast_columns(self.model)], logits)
