"""A cell-type classifier as it is applied to cells and kept in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scflyformer.data import _features

if TYPE_CHECKING:
    import numpy as np

    from scflyformer.annotation._novelty import Novelty
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead


@dataclass(frozen=True, eq=False)
class Classifier:
    """A readout of a model's embedding.

    Attributes
    ----------
    model
        The model; `None` where what made the embedding is not known.
    head
        Takes the embedding, gives logits.
    temperature
        Of the logits.
    novelty
        How strange a cell is, from the embedding's contrast columns and the logits.
    """

    model: Model | None
    head: LinearHead
    temperature: float
    novelty: Novelty

    @property
    def known_model(self) -> Model:
        """The model, where it is known."""
        if self.model is None:
            raise ValueError("This classifier reads an embedding of which it is not known what made it.")
        return self.model

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return calibrated probabilities (n_cells, n_classes) and novelty (n_cells,) from an embedding."""
        from scflyformer.stats._classification import softmax

        logits = self.head(x)
        return softmax(logits, self.temperature), self.novelty(x[:, _features.contrast_columns(self.model)], logits)
