"""A cell-type classifier as it is applied to cells and kept in a folder, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scflyformer.data import _features

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from scflyformer.annotation._terms import ClassTerms
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead
    from scflyformer.stats._novelty import Novelty


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
        Scores how unlike the labelled cells a cell is, from the embedding's contrast columns and the logits.
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


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier, and what it says of labelled cells that it has not seen.

    Attributes
    ----------
    classifier
        For new cells.
    tested
        Labelled cells that were held out, bool, shape (n_labelled,).
    probability, novelty
        Of these, NaN elsewhere: calibrated, (n_labelled, n_classes), and 0 to 1, (n_labelled,).
    notes
        How the fit went, for `uns`.
    """

    classifier: Classifier
    tested: np.ndarray
    probability: np.ndarray
    novelty: np.ndarray
    notes: dict[str, Any]

    def only(self, tested: np.ndarray, notes: dict[str, Any]) -> Fitted:
        """Return this fit, scored on fewer of its held-out cells and with further notes."""
        tested = self.tested & tested
        probability, novelty = self.probability.copy(), self.novelty.copy()
        probability[~tested] = novelty[~tested] = float("nan")
        return Fitted(self.classifier, tested, probability, novelty, self.notes | notes)


@dataclass(frozen=True, eq=False)
class ClassifierReport:
    """Held-out scores of a classifier, and what else is kept of its fit.

    Attributes
    ----------
    classes
        Names of the classes, object, shape (n_classes,).
    prior
        Their shares among the labelled cells, shape (n_classes,).
    metrics, per_class
        Held-out scores: one row a feature set, the classifier first, and one row a class.
    notes
        How the fit went.
    model_sha256
        Hash of the model that a saved classifier was fitted on.
    terms
        Ontology terms of the classes, where they have some.
    """

    classes: np.ndarray
    prior: np.ndarray
    metrics: pd.DataFrame
    per_class: pd.DataFrame
    notes: dict[str, Any]
    model_sha256: str = ""
    terms: ClassTerms | None = None
