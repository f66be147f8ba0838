"""Held-out scores of a classifier and its baselines, and what is written to the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.annotation._classifier import ClassifierReport
from scflyformer.annotation._terms import ClassTerms
from scflyformer.data._labels import UNKNOWN
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from scflyformer.annotation._baselines import Baselines
    from scflyformer.annotation._classifier import Classifier, Fitted
    from scflyformer.annotation._folds import LabelledFolds
    from scflyformer.annotation._request import AnnotateRequest

COLUMNS = ("", "_score", "_novelty", "_best", "_fbbt", "_fbbt_name", "_level")
"""Ends of the names of columns of `obs` that are written."""


def score_classifier(
    fitted: Fitted, labelled: LabelledFolds, baselines: Baselines, compared: Sequence[str], request: AnnotateRequest
) -> ClassifierReport:
    """Score a classifier, and the baselines that are ``compared``, on its held-out cells."""
    from scflyformer.stats._reports import class_gains, class_scores, per_class_scores

    y, n_classes, tested = labelled.y, labelled.n_classes, fitted.tested
    truth, units = y[tested], labelled.units[tested]
    by_cell = labelled.samples is None
    samples = None if labelled.samples is None else labelled.samples[tested]
    counts = {
        "n_cells": len(truth),
        "n_samples": 0 if by_cell else len(np.unique(units.astype(str))),
        "split": "cell" if by_cell else "sample",
    }
    best = fitted.probability[tested].argmax(axis=1)

    def row(name: str, probability: np.ndarray, novelty: np.ndarray | None = None) -> dict[str, Any]:
        covered = probability.max(axis=1) >= request.min_score
        if novelty is not None:
            covered &= novelty <= request.max_novelty
        scores = class_scores(truth, probability, units, covered=covered, seed=request.seed)
        other = probability.argmax(axis=1) if novelty is None else None
        return {"features": name, **scores, **class_gains(truth, best, other, samples, seed=request.seed), **counts}

    name = "embedding" if request.method == "probe" else "finetuned"
    rows = [row(name, fitted.probability[tested], fitted.novelty[tested])]
    if compared:
        _log.info(
            f"annotate: fitting baselines ({', '.join(compared)}) in the same folds: {len(y)} cells, "
            f"{n_classes} classes"
        )
        for name in _log.each(compared, desc=lambda name: f"baseline: {name}", unit="baseline"):
            rows.append(row(name, baselines.probability(name)[tested]))
    return ClassifierReport(
        classes=labelled.classes,
        prior=np.bincount(y, minlength=n_classes) / len(y),
        metrics=pd.DataFrame(rows),
        per_class=pd.DataFrame({"label": labelled.classes, **per_class_scores(truth, best, n_classes)}),
        notes=fitted.notes,
        terms=ClassTerms.of_ids(labelled.classes, fitted.probability[tested], truth),
    )


def compare_with_baselines(metrics: pd.DataFrame) -> list[str]:
    """Return a sentence for each baseline of a table of metrics: whether the first row is above it, and by how much.

    The last one says what few samples, or none, leave open. None for a table of an earlier version, whose intervals
    were too narrow to tell.
    """
    from scflyformer.stats._reports import gain_caveat, gain_sentence

    if "macro_f1_gain_least" not in metrics:
        return []
    main, *others = metrics.to_dict(orient="records")
    scores = {"macro_f1": "macro-F1", "accuracy": "accuracy"}
    sentences = [gain_sentence(main["features"], row, scores) for row in others]
    return sentences + gain_caveat(int(others[0]["n_samples"])) if others else []


def annotation_results(
    classifier: Classifier,
    report: ClassifierReport,
    probability: np.ndarray,
    novelty: np.ndarray,
    groups: np.ndarray | None,
    key: str,
    request: AnnotateRequest,
) -> dict[str, Any]:
    """Return what is written, by place and key."""
    classes = report.classes
    best, score = probability.argmax(axis=1), probability.max(axis=1)
    labelled = (score >= request.min_score) & (novelty <= request.max_novelty)
    shown = np.where(labelled, best, len(classes))
    uns: dict[str, Any] = {"classes": classes, "temperature": float(classifier.temperature)}
    uns["fit"] = {name: np.asarray(value) if isinstance(value, list) else value for name, value in report.notes.items()}
    uns["metrics"], uns["per_class"] = text_index(report.metrics), text_index(report.per_class)
    if len(report.metrics) > 1:
        uns["baselines"] = text_index(report.metrics.iloc[1:])
        if sentences := compare_with_baselines(report.metrics):
            uns["verdict"] = np.array(sentences, dtype=object)
    if groups is not None:
        uns["groups"] = _group_table(groups, classes[best], score)
    rolled: dict[str, Any] = {}
    if report.terms is not None:
        rolled, more = report.terms.answers(probability, novelty <= request.max_novelty, request.precision, key)
        uns |= more
    return {
        "obs": {
            key: pd.Categorical.from_codes(shown, [*classes, UNKNOWN]),
            f"{key}_score": score.astype(np.float32),
            f"{key}_novelty": novelty.astype(np.float32),
            f"{key}_best": pd.Categorical.from_codes(best, list(classes)),
            **rolled,
        },
        "obsm": {f"{key}_proba": probability.astype(np.float32)},
        "uns": {key: uns},
    }


def _group_table(groups: np.ndarray, best: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    """Return the most frequent best label of each group, and how many of its cells agree."""
    rows = []
    for group in sorted(set(groups) - {None}):
        inside = groups == group
        names, counts = np.unique(best[inside].astype(str), return_counts=True)
        label = names[counts.argmax()]
        agree = inside & (best == label)
        row = {"group": group, "label": label, "agreement": agree.sum() / inside.sum()}
        rows.append(row | {"score": float(score[agree].mean()), "n_cells": int(inside.sum())})
    return text_index(pd.DataFrame(rows, columns=["group", "label", "agreement", "score", "n_cells"]))
