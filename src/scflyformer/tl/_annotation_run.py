"""Fit, score and apply a cell-type classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.tl import _features
from scflyformer.tl._labels import UNKNOWN, Labels

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.stats._linear import LinearHead


def train(
    teacher: AnnData,
    x: np.ndarray,
    labels: Labels,
    samples: np.ndarray | None,
    baselines: str,
    min_score: float,
    n_splits: int,
    seed: int,
    *,
    layer: str | None,
    gene_key: str | None,
) -> tuple[LinearHead, dict[str, Any], np.ndarray]:
    """Fit the classifier on all labelled cells and score it, and the baselines, on held-out ones.

    Returns
    -------
    The classifier; what goes with it (classes, temperature, prior, tables); out-of-fold probabilities of the labelled
    cells.
    """
    from scflyformer.stats._classification import IMPOSSIBLE
    from scflyformer.stats._logistic import cross_logistic, fit_logistic
    from scflyformer.stats._reports import calibrated, class_scores, per_class_scores

    known = np.flatnonzero(labels.codes >= 0)
    y, n_classes = labels.codes[known], len(labels.classes)
    names = teacher.obs_names.to_numpy()[known]
    within = None if samples is None else samples[known]
    folds = _features.folds(names, within, labels=y, n_splits=n_splits, seed=seed)
    if samples is None:
        _log.warning(
            "annotate: no sample_key, so single cells are held out; the scores do not tell how labels carry over to a "
            "new sample. Pass sample_key= to hold out whole samples."
        )
    for fold in range(folds.max() + 1):
        if len(np.unique(y[folds != fold])) < 2:
            held = sorted({str(name) for name in (names if within is None else within)[folds == fold]})
            raise ValueError(
                f"With {', '.join(held[:5])} held out, the other cells have a single class. Give more samples that "
                f"hold several classes, or leave sample_key out to split by cell."
            )
    units = names if within is None else within
    rows = []

    def score(features: str, logits: np.ndarray) -> tuple[np.ndarray, float]:
        probability, temperature = calibrated(logits, y, folds)
        scores = class_scores(y, probability, units, min_score=min_score, seed=seed)
        n_samples = 0 if within is None else len(np.unique(within.astype(str)))
        split = "cell" if within is None else "sample"
        rows.append({"features": features, **scores, "n_cells": len(y), "n_samples": n_samples, "split": split})
        return probability, temperature

    result = cross_logistic(x[known], y, folds, n_classes=n_classes)
    head = fit_logistic(x[known], y, n_classes=n_classes, penalty=result.penalty)
    held_out, temperature = score("embedding", result.logits)
    if baselines == "auto":
        values, _ = _features.expression(teacher, layer=layer, gene_key=gene_key)
        score("expression", cross_logistic(values[known], y, folds, n_classes=n_classes).logits)
        frequency = np.stack([np.bincount(y[folds != f], minlength=n_classes) for f in range(folds.max() + 1)])
        score("majority", np.where(frequency > 0, np.log(np.maximum(frequency, 1)), IMPOSSIBLE)[folds])
    metrics = pd.DataFrame(rows)
    table = pd.DataFrame({"label": labels.classes, **per_class_scores(y, held_out.argmax(axis=1), n_classes)})
    trained = {
        "classes": labels.classes,
        "temperature": temperature,
        "prior": np.bincount(y, minlength=n_classes) / len(y),
        "penalty": result.penalty,
        "metrics": metrics,
        "per_class": table,
    }
    return head, trained, held_out


def results(
    cells: AnnData,
    probability: np.ndarray,
    empty: np.ndarray,
    trained: dict[str, Any],
    groups: pd.Series | None,
    key: str,
    min_score: float,
) -> dict[str, Any]:
    """Return what is written, by place and key."""
    classes = trained["classes"]
    best, score = probability.argmax(axis=1), probability.max(axis=1)
    shown = np.where((score >= min_score) & ~empty, best, len(classes))
    uns: dict[str, Any] = {"classes": classes, "temperature": float(trained["temperature"])}
    metrics: pd.DataFrame = trained["metrics"]
    uns["metrics"], uns["per_class"] = _stored(metrics), _stored(trained["per_class"])
    others = metrics[metrics["features"] != "embedding"]
    if len(others):
        uns["baselines"] = _stored(others)
    if groups is not None:
        uns["groups"] = _group_table(groups, classes[best], score)
    return {
        "obs": {
            key: pd.Categorical.from_codes(shown, [*classes, UNKNOWN]),
            f"{key}_score": score.astype(np.float32),
            f"{key}_best": pd.Categorical.from_codes(best, list(classes)),
        },
        "obsm": {f"{key}_proba": probability.astype(np.float32)},
        "uns": {key: uns},
    }


def _stored(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a text index, as h5ad keeps it."""
    return table.set_axis(np.arange(len(table)).astype(str).astype(object), axis="index")


def _group_table(groups: pd.Series, best: np.ndarray, score: np.ndarray) -> pd.DataFrame:
    """Return the most frequent best label of each group, and how many of its cells agree."""
    rows = []
    named = groups.notna().to_numpy()
    text = groups.astype(object).map(str).to_numpy()
    for group in sorted(set(text[named])):
        inside = named & (text == group)
        names, counts = np.unique(best[inside].astype(str), return_counts=True)
        label = names[counts.argmax()]
        agree = inside & (best == label)
        row = {"group": group, "label": label, "agreement": agree.sum() / inside.sum()}
        rows.append(row | {"score": float(score[agree].mean()), "n_cells": int(inside.sum())})
    return _stored(pd.DataFrame(rows, columns=["group", "label", "agreement", "score", "n_cells"]))
