"""A saved classifier's reading of cells, and how what it says of a class changes when genes are edited."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data import _adata
from scflyformer.data._tables import text_index
from scflyformer.perturbation._cells import Embedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.annotation._classifier import Classifier
    from scflyformer.data._reading import Reading
    from scflyformer.models import Model
    from scflyformer.perturbation._cells import CellGroup
    from scflyformer.perturbation._edit import Edits
    from scflyformer.tokens._rows import TokenRows

LOG_ODDS, PROBABILITY, CONTRAST = range(3)
"""Columns of what is read off a cell."""


@dataclass(frozen=True, eq=False)
class ClassifierReader:
    """A saved classifier and the cells as it reads them.

    Attributes
    ----------
    classifier
        The classifier.
    classes
        Names of its classes, text, shape (n_classes,).
    rows
        The cells, ranked.
    fitted_on_sha256
        Hash of the model that it was fitted on.
    """

    classifier: Classifier
    classes: np.ndarray
    rows: TokenRows
    fitted_on_sha256: str

    @property
    def model(self) -> Model:
        """The model in the classifier's folder."""
        return self.classifier.known_model

    @property
    def fitted_on(self) -> str:
        """Name of the model that it was fitted on."""
        made: Any = self.model.provenance.get("classifier", {})
        return str(made.get("model", self.model.name))

    def usable(self) -> np.ndarray:
        """Which cells have counts in the model's genes, bool, shape (n_obs,)."""
        return self.rows.lengths > 0

    def take(self, cells: np.ndarray) -> ClassifierReader:
        """Return the classifier with some of the cells."""
        return replace(self, rows=self.rows.take(cells))

    def embedder(self, running: Running) -> Embedder:
        """Return what makes the embedding that it reads."""
        return Embedder(self.model.network(), self.model.pooling, running)


@dataclass(frozen=True, eq=False)
class ClassQuestion:
    """Which class each cell is asked about, and which other class that is held against.

    Attributes
    ----------
    classifier
        Gives the logits.
    asked, rival
        The two classes of each cell, int64, shape (n_cells,).
    """

    classifier: Classifier
    asked: np.ndarray
    rival: np.ndarray

    def answers(self, vectors: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Return log-odds of the class against all others, its probability, and log-odds against the rival.

        ``vectors`` are embeddings of cells or of their copies, ``cells`` which cells these are. Float64, shape
        (n_vectors, 3); natural logarithms.
        """
        from scipy.special import expit, logsumexp

        logits, each = self.classifier.head(vectors) / self.classifier.temperature, np.arange(len(vectors))
        own, rival = logits[each, self.asked[cells]], logits[each, self.rival[cells]]
        logits[each, self.asked[cells]] = -np.inf
        odds = own - logsumexp(logits, axis=1)
        return np.column_stack([odds, expit(odds), own - rival])


def open_classifier(adata: AnnData, classifier: str | os.PathLike[str], reading: Reading) -> ClassifierReader:
    """Open a classifier's folder and read the cells as it does."""
    from scflyformer.annotation._saved import load_classifier

    opened, report = load_classifier(classifier)
    rows, _ = _adata.token_rows(adata, opened.known_model, reading)
    return ClassifierReader(opened, report.classes.astype(str), rows, report.model_sha256)


def class_changes(
    reader: ClassifierReader,
    groups: Sequence[CellGroup],
    edits: Edits,
    running: Running,
    *,
    contrast: str | None,
    samples: np.ndarray,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Change in what a classifier says of each cell's class when gene sets are edited in the cell.

    Parameters
    ----------
    reader
        The classifier, with the drawn cells alone, one group after the other.
    groups
        Named by the class that their cells are asked about.
    contrast
        Class to hold the others against; `None`, and for that class itself, the runner-up: the class with the highest
        mean probability in the group's cells after the group's own.
    samples
        Sample of each cell of the object.

    Returns
    -------
    New minus old answers (:meth:`ClassQuestion.answers`), float64, shape (n_copies, 3), NaN where the edit leaves
    nothing of a cell; and a row for each group: `group`, `n_cells`, `n_samples`, `probability`, `rival`,
    `rival_probability`, of the unedited cells.
    """
    from scflyformer.perturbation._copies import embedded_copies

    embedder = reader.embedder(running)
    with _log.progress(total=len(reader.rows), desc="embedding cells", unit="cell") as bar:
        vectors = embedder.embed(reader.rows, bar=bar)
    sizes = [len(group.cells) for group in groups]
    place = {name: at for at, name in enumerate(reader.classes.tolist())}
    asked = np.array([place[group.name] for group in groups])
    means = _mean_probabilities(reader.classifier, vectors, sizes)
    others = means.copy()
    others[np.arange(len(asked)), asked] = -1
    rival = others.argmax(1)
    if contrast is not None:
        rival = np.where(asked == place[contrast], rival, place[contrast])
    table = pd.DataFrame(
        {
            "group": [group.name for group in groups],
            "n_cells": sizes,
            "n_samples": [len(set(samples[group.cells])) for group in groups],
            "probability": means[np.arange(len(asked)), asked],
            "rival": reader.classes[rival].astype(object),
            "rival_probability": means[np.arange(len(asked)), rival],
        }
    )
    question = ClassQuestion(reader.classifier, np.repeat(asked, sizes), np.repeat(rival, sizes))
    before = question.answers(vectors, np.arange(len(vectors)))
    changes = np.full((len(edits), before.shape[1]), np.nan)
    with _log.progress(total=len(edits), desc=f"{edits.kind} genes", unit="cell") as bar:
        for block, edited, after in embedded_copies(embedder, reader.rows, edits, bar=bar):
            moved = question.answers(after, edited.source) - before[edited.source]
            changes[block] = np.where(edited.rows.lengths[:, None] > 0, moved, np.nan)
    return changes, text_index(table)


def _mean_probabilities(classifier: Classifier, vectors: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the mean probabilities of each group's cells, float64, shape (n_groups, n_classes)."""
    from scflyformer.stats._classification import softmax

    probability = softmax(classifier.head(vectors), classifier.temperature)
    return np.stack([part.mean(0) for part in np.split(probability, np.cumsum(sizes)[:-1])])
