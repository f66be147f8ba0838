"""A classifier as a model folder: written and opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.annotation._classifier import Classifier, ClassifierReport
from scflyformer.annotation._terms import ClassTerms
from scflyformer.data import _features
from scflyformer.ontology._roll_up import THRESHOLDS

if TYPE_CHECKING:
    from scflyformer.annotation._request import AnnotateRequest
    from scflyformer.data._training_cells import UsedCells

_PREFIX, FILE = "classifier.", "labels.json"
_HEAD, _NOVELTY = ("mean", "scale", "weight", "bias"), ("whiten", "centres", "quantiles")


def save_classifier(
    path: str | os.PathLike[str],
    classifier: Classifier,
    report: ClassifierReport,
    request: AnnotateRequest,
    learnt_from: UsedCells,
) -> None:
    """Write a model folder with ``labels.json``, the classifier, and a list of the cells that it has learnt from."""
    from scflyformer.models._save import save_head

    model, novelty = classifier.known_model, classifier.novelty
    rows = records(report.metrics)
    metrics = {row["features"]: {k: v for k, v in row.items() if k != "features"} for row in rows}
    content = {
        "classes": list(report.classes),
        "temperature": classifier.temperature,
        "prior": report.prior,
        "notes": report.notes,
        "min_score": request.min_score,
        "max_novelty": request.max_novelty,
        "label_key": request.label_key,
        "pooling": model.pooling,
        "metrics": rows,
        "per_class": records(report.per_class),
    }
    if report.terms is not None:
        content |= {"fbbt": list(report.terms.terms), "roll_up_precision": report.terms.precision}
    main = rows[0]
    about = (
        f"# Cell-type classifier on {model.name}\n\n{len(report.classes)} classes, learnt from {main['n_cells']:,} "
        f"cells. Held out by {main['split']}: accuracy {main['accuracy']:.3f}, macro-F1 {main['macro_f1']:.3f}, "
        f"calibration error {main['ece']:.3f}. Use it with `scflyformer.tl.annotate(adata, classifier=…)`. The model "
        "that it reads:"
    )
    tensors = classifier.head.tensors() | {
        "whiten": novelty.nearest.whiten,
        "centres": novelty.nearest.centres,
        "quantiles": novelty.quantiles,
    }
    name = str(request.label_key)
    save_head(
        path,
        model,
        file=FILE,
        prefix=_PREFIX,
        content=content,
        tensors=tensors,
        metrics=metrics,
        about=about,
        cells=lambda manifest: learnt_from.as_set(manifest, model.vocabulary, name=name, use="labels"),
    )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return table.to_dict(orient="records")  # type: ignore[return-value]


def load_classifier(path: str | os.PathLike[str]) -> tuple[Classifier, ClassifierReport]:
    """Return a saved classifier and its report."""
    from scflyformer.models import ModelFolderError
    from scflyformer.models._save import load_head
    from scflyformer.stats._linear import LinearHead
    from scflyformer.stats._novelty import ClassDistance, Novelty

    keys = ("classes", "temperature", "prior", "notes", "metrics", "per_class", "model_sha256")
    model, content, tensors = load_head(
        path, file=FILE, prefix=_PREFIX, keys=keys, names=(*_HEAD, *_NOVELTY), what="classifier"
    )
    n_classes, width = len(content["classes"]), model.embedding_size
    n_contrast = len(range(width)[_features.contrast_columns(model)])
    expected: dict[str, tuple[int, ...]] = {
        "mean": (width,),
        "scale": (width,),
        "weight": (n_classes, width),
        "bias": (n_classes,),
        "whiten": (n_contrast, n_contrast),
        "centres": (len(tensors["centres"]), n_contrast),
        "quantiles": (3, tensors["quantiles"].shape[-1]),
    }
    wrong = [name for name, shape in expected.items() if tensors[name].shape != shape]
    if wrong or len(content["prior"]) != n_classes:
        raise ModelFolderError(
            f"{model.path}: {FILE} lists {n_classes} classes, and the classifier's {', '.join(wrong) or 'prior'} "
            f"does not fit them and width {width}. The files come from different classifiers; copy the folder again, "
            f"whole."
        )
    report = ClassifierReport(
        classes=np.array(content["classes"], dtype=object),
        prior=np.array(content["prior"]),
        metrics=_numeric(pd.DataFrame(content["metrics"])),
        per_class=_numeric(pd.DataFrame(content["per_class"])),
        notes=content["notes"],
        model_sha256=content["model_sha256"],
        terms=_terms(content, n_classes),
    )
    head = LinearHead(**{name: tensors[name] for name in _HEAD})
    novelty = Novelty(ClassDistance(tensors["whiten"], tensors["centres"]), tensors["quantiles"])
    return Classifier(model, head, content["temperature"], novelty), report


def _terms(content: dict[str, Any], n_classes: int) -> ClassTerms | None:
    """Return the ontology terms of the classes; `None` of a classifier without."""
    if "fbbt" not in content:
        return None
    terms, precision = np.array(content["fbbt"], dtype=object), np.array(content["roll_up_precision"], dtype=float)
    if len(terms) != n_classes or precision.shape != THRESHOLDS.shape:
        raise ValueError(f"{FILE} lists {n_classes} classes and {len(terms)} terms. Copy the folder again, whole.")
    return ClassTerms(terms, precision)


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with numbers where JSON had null for those that are not finite."""
    text = {"features", "split", "label"}
    return table.assign(**{name: pd.to_numeric(table[name]) for name in table if name not in text})
