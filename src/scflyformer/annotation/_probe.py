"""Logistic regression on the frozen embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.annotation._classifier import Classifier, Fitted
from scflyformer.data import _features

if TYPE_CHECKING:
    from scflyformer.annotation._folds import LabelledFolds
    from scflyformer.models import Model


def fit_probe(model: Model | None, x: np.ndarray, labelled: LabelledFolds) -> Fitted:
    """Return the probe of an embedding, shape (n_obs, width), that ``model`` made, if it is known."""
    from scflyformer.stats._cross import cross_fit
    from scflyformer.stats._families import LOGISTIC
    from scflyformer.stats._novelty import ClassDistance, Novelty, held_out_distance, held_out_novelty
    from scflyformer.stats._reports import calibrated

    y, folds, n_classes = labelled.y, labelled.folds, labelled.n_classes
    features = x[labelled.cells]
    near = features[:, _features.contrast_columns(model)]
    crossed = cross_fit(LOGISTIC, features, y, folds, n_classes=n_classes, samples=labelled.samples)
    head: Any = LOGISTIC.fit(features, y, n_classes=n_classes, parameter=crossed.parameter)
    distance = held_out_distance(near, y, folds)
    probability, temperature = calibrated(crossed.logits, y, folds)
    novelty = Novelty.fit(ClassDistance.fit(near, y), crossed.logits, distance)
    classifier = Classifier(model, head, temperature, novelty)
    tested, notes = np.ones(len(y), dtype=bool), {"penalty": crossed.parameter}
    return Fitted(classifier, tested, probability, held_out_novelty(crossed.logits, distance, folds), notes)
