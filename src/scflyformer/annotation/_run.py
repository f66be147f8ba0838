"""Fit, score and apply a cell-type classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data import _adata, _features
from scflyformer.data._labels import UNKNOWN, Labels
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.annotation._arms import Arm, Fitted
    from scflyformer.annotation._request import AnnotateRequest
    from scflyformer.data._reading import Reading
    from scflyformer.stats._families import Family


def train(
    labelled: AnnData,
    arm: Arm,
    labels: Labels,
    samples: np.ndarray | None,
    request: AnnotateRequest,
    *,
    baselines: Sequence[str],
    features: Mapping[str, Callable[[], np.ndarray]],
    reading: Reading,
) -> tuple[Fitted, dict[str, Any]]:
    """Fit the classifier on all labelled cells and score it, and the baselines, on held-out ones.

    Parameters
    ----------
    labelled
        Cells, of which some are labelled.
    arm
        The classifier.
    labels, samples
        Class and sample of each cell.
    request
        Limits, folds and seed are used.
    baselines
        Names out of `BASELINES`, or of ``features``.
    features
        Gives what a baseline of that name reads, shape (n_obs, width); called where it is needed.
    reading
        What the baselines read in these cells.

    Returns
    -------
    The classifier, and what goes with it: classes, prior, tables, notes.
    """
    from scflyformer.stats._reports import class_gains, class_scores, per_class_scores

    known = np.flatnonzero(labels.codes >= 0)
    y, n_classes = labels.codes[known], len(labels.classes)
    names = _adata.cell_names(labelled, layer=reading.layer)[known]
    within = None if samples is None else samples[known]
    seed = request.seed
    folds = _deal(names, within, y, request.n_splits, seed)
    fitted = arm.fit(known, y, folds, n_classes)
    tested = fitted.tested
    truth, units = y[tested], (names if within is None else within)[tested]
    same = {
        "n_cells": len(truth),
        "n_samples": 0 if within is None else len(np.unique(units.astype(str))),
        "split": "cell" if within is None else "sample",
    }
    best = fitted.probability[tested].argmax(axis=1)

    def row(name: str, probability: np.ndarray, strange: np.ndarray | None = None) -> dict[str, Any]:
        covered = probability.max(axis=1) >= request.min_score
        if strange is not None:
            covered &= strange <= request.max_novelty
        scores = class_scores(truth, probability, units, covered=covered, seed=seed)
        other = probability.argmax(axis=1) if strange is None else None
        return {"features": name, **scores, **class_gains(truth, best, other, units, seed=seed), **same}

    rows = [row(arm.name, fitted.probability[tested], fitted.novelty[tested])]
    if baselines:
        _log.info(
            f"annotate: fitting baselines ({', '.join(baselines)}) in the same folds: {len(y)} cells, "
            f"{n_classes} classes"
        )
        fit = _fitter(labelled, known, y, folds, n_classes, arm.held_out, features, reading)
        for name in _log.each(baselines, desc=lambda name: f"baseline: {name}", unit="baseline"):
            rows.append(row(name, fit(name)[tested]))
    trained = {
        "classes": labels.classes,
        "temperature": fitted.classifier.temperature,
        "prior": np.bincount(y, minlength=n_classes) / len(y),
        "metrics": pd.DataFrame(rows),
        "per_class": pd.DataFrame({"label": labels.classes, **per_class_scores(truth, best, n_classes)}),
        "notes": fitted.notes,
    }
    return fitted, trained


def _deal(names: np.ndarray, within: np.ndarray | None, y: np.ndarray, n_splits: int, seed: int) -> np.ndarray:
    """Return folds of samples, or of cells, each of which leaves at least two classes to learn from."""
    folds = _features.folds(names, within, labels=y, n_splits=n_splits, seed=seed)
    if within is None:
        _log.warning(
            "annotate: no sample_key, so single cells are held out; the scores do not tell how labels carry over to a "
            "new sample. Pass sample_key= to hold out whole samples."
        )
    for fold in range(folds.max() + 1):
        if len(np.unique(y[folds != fold])) < 2:
            held = sorted(set(_adata.plain_names((names if within is None else within)[folds == fold])))
            raise ValueError(
                f"With {', '.join(held[:5])} held out, the other cells have a single class. Give more samples that "
                f"hold several classes, or leave sample_key out to split by cell."
            )
    return folds


def _fitter(
    labelled: AnnData,
    known: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray,
    n_classes: int,
    held_out: Sequence[int] | None,
    features: Mapping[str, Callable[[], np.ndarray]],
    reading: Reading,
) -> Callable[[str], np.ndarray]:
    """Return what gives a baseline's calibrated out-of-fold probabilities; expression is read where it is needed.

    Where few folds are held out, one more gives the temperature.
    """
    from scflyformer.stats import _families as families
    from scflyformer.stats._cross import cross_fit
    from scflyformer.stats._reports import calibrated

    kept: list[Any] = []

    def expression() -> Any:
        if not kept:
            kept.append(_features.expression_features(labelled, reading)[0][known])
        return kept[0]

    made: dict[str, tuple[Family, Callable[[], Any]]] = {
        "expression": (families.SPARSE_LOGISTIC, expression),
        "pca": (families.PCA_LOGISTIC, expression),
        "neighbours": (families.NEIGHBOURS, expression),
        "majority": (families.MAJORITY, lambda: np.zeros((len(y), 1), dtype=np.float32)),
    }
    only = None if held_out is None else sorted({*held_out, (max(held_out) + 1) % (int(folds.max()) + 1)})

    def fit(name: str) -> np.ndarray:
        family, read = made.get(name) or (families.LOGISTIC, lambda: features[name]()[known])
        logits = cross_fit(family, read(), y, folds, n_classes=n_classes, only=only).logits
        done = np.isin(folds, folds if only is None else only)
        out = np.full_like(logits, np.nan)
        out[done] = calibrated(logits[done], y[done], folds[done])[0]
        return out

    return fit


def verdicts(metrics: pd.DataFrame) -> list[str]:
    """Return a sentence for each baseline of a table of metrics: whether the first row is above it, and by how much."""
    from scflyformer.stats._reports import gain_words

    if "macro_f1_gain" not in metrics:
        return []
    main, *others = metrics.to_dict(orient="records")
    out = []
    for row in others:
        (f1, by), (accuracy, so_far) = gain_words(row, "macro_f1"), gain_words(row, "accuracy")
        name = f"{main['features']} {f1} {row['features']}"
        out.append(f"{name} in macro-F1 ({by}); {accuracy} it in accuracy ({so_far})")
    return out


def results(
    cells: AnnData,
    probability: np.ndarray,
    novelty: np.ndarray,
    trained: dict[str, Any],
    groups: np.ndarray | None,
    key: str,
    request: AnnotateRequest,
) -> dict[str, Any]:
    """Return what is written, by place and key."""
    classes = trained["classes"]
    best, score = probability.argmax(axis=1), probability.max(axis=1)
    labelled = (score >= request.min_score) & (novelty <= request.max_novelty)
    shown = np.where(labelled, best, len(classes))
    uns: dict[str, Any] = {"classes": classes, "temperature": float(trained["temperature"])}
    uns["fit"] = {
        name: np.asarray(value) if isinstance(value, list) else value for name, value in trained["notes"].items()
    }
    metrics: pd.DataFrame = trained["metrics"]
    uns["metrics"], uns["per_class"] = text_index(metrics), text_index(trained["per_class"])
    if len(metrics) > 1:
        uns["baselines"] = text_index(metrics.iloc[1:])
        if said := verdicts(metrics):
            uns["verdict"] = np.array(said, dtype=object)
    if groups is not None:
        uns["groups"] = _group_table(groups, classes[best], score)
    return {
        "obs": {
            key: pd.Categorical.from_codes(shown, [*classes, UNKNOWN]),
            f"{key}_score": score.astype(np.float32),
            f"{key}_novelty": novelty.astype(np.float32),
            f"{key}_best": pd.Categorical.from_codes(best, list(classes)),
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
