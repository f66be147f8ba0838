"""A trained readout beside the model it reads: tensors under a prefix, and a JSON file that says what they mean."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ModelFolderError
from ._save import _check_free, save_folder, to_json

if TYPE_CHECKING:
    import numpy as np

    from ._model import Model


def check_target(path: str | os.PathLike[str] | None) -> None:
    """Raise `FileExistsError` where a folder is taken, before work is spent on what should go there."""
    if path is not None:
        _check_free(Path(path).expanduser().resolve(), overwrite=False)


def save_head(
    path: str | os.PathLike[str],
    model: Model,
    *,
    file: str,
    prefix: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    metrics: Mapping[str, Any],
    about: str,
) -> Model:
    """Write a model folder that holds a model and a readout on it.

    Parameters
    ----------
    path
        The folder to make.
    model
        The model whose embedding the readout reads.
    file
        Name of the JSON file, such as ``"labels.json"``.
    prefix
        Prefix of the tensors, such as ``"classifier."``.
    content
        What the JSON file holds; the model's name and hash are added.
    tensors
        Arrays of the readout by name.
    metrics
        Held-out results of the readout; joined with the model's own in ``metrics.json`` under the prefix.
    about
        Text that is put before the model's own card in ``README.md``.

    Returns
    -------
    The saved folder, opened.
    """
    from scflyformer._version import __version__

    name = prefix.rstrip(".")
    made = {"scflyformer": __version__, "date": datetime.now(UTC).date().isoformat()}
    card = model.path / "README.md"
    known = {"model": model.name, "model_sha256": model.sha256, **content}
    return save_folder(
        path,
        model.network(),
        model.vocabulary,
        metrics=model.metrics | {name: dict(metrics)},
        provenance=model.provenance | {name: made | {"model": model.name, "model_sha256": model.sha256}},
        card=f"{about}\n\n---\n\n{card.read_text(encoding='utf-8')}",
        extra_files={file: to_json(known)},
        extra_tensors={prefix + key: value for key, value in tensors.items()},
    )


def load_head(
    name_or_path: str | os.PathLike[str],
    *,
    file: str,
    prefix: str,
    keys: tuple[str, ...],
    names: tuple[str, ...],
    what: str,
) -> tuple[Model, dict[str, Any], dict[str, np.ndarray]]:
    """Open a folder that :func:`save_head` wrote.

    Parameters
    ----------
    name_or_path
        The folder, or a model's name.
    file
        Name of the JSON file.
    prefix
        Prefix of the tensors.
    keys
        Entries that the JSON file must have.
    names
        Tensors that must be there.
    what
        What the folder should be, for messages: ``"classifier"``.

    Returns
    -------
    The model, the content of the JSON file, and the tensors.

    Raises
    ------
    ModelFolderError
        When the folder is no model folder, has no such readout, or its parts are damaged.
    """
    from ._load import load

    try:
        model = load(name_or_path)
    except ModelFolderError as error:
        raise ModelFolderError(f"{error} A {what} is the folder that an earlier call wrote with save=.") from error
    where = model.path / file
    if not where.is_file():
        raise ModelFolderError(
            f"{model.path} is a model without a {what}: it has no {file}. Give the folder that was written with save=."
        )
    again = "Copy the folder again, whole, or save it anew."
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{where} is not readable as JSON ({error}). {again}") from error
    absent = [key for key in keys if not isinstance(content, dict) or key not in content]
    if absent:
        raise ModelFolderError(f"{where} lacks {', '.join(absent)}. {again}")
    tensors = model.tensors(prefix)
    absent = [name for name in names if name not in tensors]
    if absent:
        raise ModelFolderError(
            f"{model.path / 'model.safetensors'} lacks {', '.join(prefix + n for n in absent)}. {again}"
        )
    return replace(model, reads_code=content.get("pooling") == "code"), content, tensors
