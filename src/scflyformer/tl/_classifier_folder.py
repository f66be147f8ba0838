"""A classifier as a model folder: written and opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.tl import _features

if TYPE_CHECKING:
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead

_PREFIX, _FILE = "classifier.", "labels.json"


def save_classifier(
    path: str | os.PathLike[str],
    model: Model,
    head: LinearHead,
    trained: dict[str, Any],
    *,
    label_key: str | None,
    min_score: float,
) -> None:
    """Write a model folder with ``labels.json`` and the classifier."""
    from scflyformer.models._heads import save_head

    metrics = {
        row["features"]: {k: v for k, v in row.items() if k != "features"} for row in records(trained["metrics"])
    }
    content = {
        "classes": list(trained["classes"]),
        "temperature": trained["temperature"],
        "prior": trained["prior"],
        "penalty": trained["penalty"],
        "min_score": min_score,
        "label_key": label_key,
        "pooling": _features.pooling_of(model),
        "metrics": records(trained["metrics"]),
        "per_class": records(trained["per_class"]),
    }
    own = metrics["embedding"]
    about = (
        f"# Cell-type classifier on {model.name}\n\n{len(trained['classes'])} classes, learnt from {own['n_cells']:,} "
        f"cells. Held out by {own['split']}: accuracy {own['accuracy']:.3f}, macro-F1 {own['macro_f1']:.3f}, "
        f"calibration error {own['ece']:.3f}. Use it with `scflyformer.tl.annotate(adata, classifier=…)`. The model "
        "that it reads:"
    )
    save_head(
        path, model, file=_FILE, prefix=_PREFIX, content=content, tensors=head.tensors(), metrics=metrics, about=about
    )


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return table.to_dict(orient="records")  # type: ignore[return-value]


def load_classifier(path: str | os.PathLike[str]) -> tuple[Model, LinearHead, dict[str, Any]]:
    """Return the model, the classifier and what goes with it."""
    from scflyformer.models import ModelFolderError
    from scflyformer.models._heads import load_head
    from scflyformer.stats._linear import LinearHead

    keys = ("classes", "temperature", "prior", "metrics", "per_class", "model_sha256")
    names = ("mean", "scale", "weight", "bias")
    model, content, tensors = load_head(path, file=_FILE, prefix=_PREFIX, keys=keys, names=names, what="classifier")
    n_classes, width = len(content["classes"]), model.embedding_size
    expected = {"mean": (width,), "scale": (width,), "weight": (n_classes, width), "bias": (n_classes,)}
    wrong = [name for name, shape in expected.items() if tensors[name].shape != shape]
    if wrong or len(content["prior"]) != n_classes:
        raise ModelFolderError(
            f"{model.path}: {_FILE} lists {n_classes} classes, and the classifier's {', '.join(wrong) or 'prior'} "
            f"does not fit them and width {width}. The files come from different classifiers; copy the folder again, "
            f"whole."
        )
    content |= {"classes": np.array(content["classes"], dtype=object), "prior": np.array(content["prior"])}
    content |= {name: _numeric(pd.DataFrame(content[name])) for name in ("metrics", "per_class")}
    return model, LinearHead(**{name: tensors[name] for name in names}), content


def _numeric(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with numbers where JSON had null for those that are not finite."""
    text = {"features", "split", "label"}
    return table.assign(**{name: pd.to_numeric(table[name]) for name in table if name not in text})
