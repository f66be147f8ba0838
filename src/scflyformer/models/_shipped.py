"""Readouts that ship with the package: tensors on a registered model's embedding, without the model."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ModelFolderError

if TYPE_CHECKING:
    import numpy as np

    from ._model import Model

FOLDER = Path(__file__).with_name("readouts")
TENSORS = "readout.safetensors"
MIN_GENES = 200
"""Least genes that cells must have measured: with few, classifiers are sure and wrong."""


def shipped_readouts(file: str) -> list[str]:
    """Return the names of the readouts that ship, of those with a file of this name."""
    return sorted(found.parent.name for found in FOLDER.glob(f"*/{file}"))


def is_shipped(name: str | os.PathLike[str]) -> bool:
    """Whether ``name`` stands for a readout that ships."""
    return isinstance(name, str) and name in shipped_readouts(TENSORS)


def require_genes(n_genes: int, name: str | os.PathLike[str]) -> None:
    """Refuse cells with too few genes for a readout that ships, where ``name`` is one or ``"auto"``."""
    if (name == "auto" or is_shipped(name)) and n_genes < MIN_GENES:
        raise ValueError(
            f"The cells have {n_genes} genes; expected {MIN_GENES} or more for {name!r}, which ships and has learnt "
            "from panels of 800 genes and whole transcriptomes. With fewer, learn from labelled cells of that panel."
        )


def shipped_model(name: str) -> Model:
    """Return the model that a readout that ships reads."""
    from ._load import load

    (file,) = (FOLDER / name).glob("*.json")
    return load(json.loads(file.read_text(encoding="utf-8"))["model"])


def readout_folder(name: str | os.PathLike[str], model: Model) -> Path:
    """Return the folder of a readout: one that ships, or that of the model which it was saved with."""
    return FOLDER / os.fspath(name) if is_shipped(name) else model.path


def load_shipped(name: str, file: str) -> tuple[Model, dict[str, Any], dict[str, np.ndarray]]:
    """Return the model that a shipped readout reads, the content of its JSON file, and its tensors."""
    from safetensors.numpy import load_file

    from ._load import load

    content = json.loads((FOLDER / name / file).read_text(encoding="utf-8"))
    model = load(content["model"])
    if model.sha256 != content["model_sha256"]:
        raise ModelFolderError(
            f"{name!r} reads the model {model.name!r} with hash {content['model_sha256'][:12]}, and that in "
            f"{model.path} has {model.sha256[:12]}. Use the registered {model.name!r}, or a readout fitted on yours."
        )
    return replace(model, reads_code=content["pooling"] == "code"), content, load_file(FOLDER / name / TENSORS)
