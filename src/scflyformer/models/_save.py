"""Write a model folder, all of it or nothing, with or without a trained readout; open the readout again.

A readout is a set of tensors under a prefix, and a JSON file that says what they mean.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ModelFolderError, ModelNameError
from ._folder import PICKLES, REQUIRED, check_folder, open_folder
from ._model import Model, quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from transformers import PreTrainedModel

    from scflyformer.genes._vocabulary import Vocabulary

    from ._manifest import CellSet, Manifest

CHECKPOINTS = "checkpoints"
"""Subfolder for training states; saving into the folder around it leaves it where it is."""


def save_folder(
    path: str | os.PathLike[str],
    network: PreTrainedModel,
    vocabulary: Vocabulary,
    *,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    card: str,
    extra_files: Mapping[str, str] | None = None,
    extra_tensors: Mapping[str, np.ndarray] | None = None,
    manifest: Manifest | None = None,
) -> Model:
    """Write a model folder and open it; everything is written beside ``path``, checked, and then renamed.

    Parameters
    ----------
    metrics, provenance
        Contents of the JSON files of these names; numbers that are not finite become null.
    card
        Text of ``README.md``.
    extra_files
        Further text files by name, such as ``{"labels.json": "…"}``.
    extra_tensors
        Further tensors for ``model.safetensors`` by full name, such as ``{"classifier.weight": …}``.
    manifest
        The training cells.
    """
    target = Path(path).expanduser().resolve()
    extra_files = dict(extra_files or {})
    for name in extra_files:
        if Path(name).name != name or name in REQUIRED or name == CHECKPOINTS or name.lower().endswith(PICKLES):
            raise ValueError(f"extra file {name!r}; expected a plain file name other than {', '.join(REQUIRED)}.")
    _check_free(target)
    with staging_folder(target.parent, target.name) as staged:
        with quiet_transformers():
            network.save_pretrained(staged)
        if extra_tensors:
            _add_tensors(staged / "model.safetensors", extra_tensors)
        vocabulary.write(staged / "vocab.tsv")
        texts = {"metrics.json": to_json(metrics), "provenance.json": to_json(provenance), "README.md": card}
        for name, text in (texts | extra_files).items():
            (staged / name).write_text(text, encoding="utf-8")
        if manifest is not None:
            manifest.write(staged)
        _open_to_others(staged)
        check_folder(staged)
        _move_into_place(staged, target)
    return open_folder(target)


@contextmanager
def staging_folder(parent: Path, name: str) -> Iterator[Path]:
    """Yield a new folder in a hidden one of ``parent``; what is left of both goes when the block ends."""
    parent.mkdir(parents=True, exist_ok=True)
    outer = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        inner = outer / name  # mkdtemp's own folder would be closed to everybody else
        inner.mkdir()
        yield inner
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def to_json(content: Mapping[str, Any]) -> str:
    """Return ``content`` as strict JSON; NumPy numbers and arrays become plain, what is not finite becomes null."""
    return json.dumps(_json_value(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if hasattr(value, "tolist"):
        return _json_value(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def _open_to_others(folder: Path) -> None:
    """Give files the rights that new files get here; some libraries write theirs for the owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for file in folder.iterdir():
        file.chmod(0o666 & ~mask)


def _add_tensors(file: Path, extra: Mapping[str, np.ndarray]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(file)
    taken = sorted(set(tensors) & set(extra))
    if taken:
        raise ValueError(f"extra tensor(s) {', '.join(taken)} are the network's own names; give them a prefix.")
    tensors |= {name: torch.as_tensor(tensor).contiguous() for name, tensor in extra.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _check_free(target: Path) -> None:
    if not target.exists() or (target.is_dir() and set(os.listdir(target)) <= {CHECKPOINTS}):
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file; give the name of a folder to make.")
    raise FileExistsError(f"The folder {target} exists and is not empty. Give another name, or remove it.")


def _move_into_place(staged: Path, target: Path) -> None:
    """Rename ``staged`` to ``target``; what stood there waits inside the staging folder, and returns on failure."""
    if not target.exists():
        staged.rename(target)
        return
    aside = staged.parent / "replaced"
    try:
        target.rename(aside)
        staged.rename(target)
    except BaseException:
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    if (aside / CHECKPOINTS).exists():
        (aside / CHECKPOINTS).rename(target / CHECKPOINTS)


def check_target(path: str | os.PathLike[str] | None) -> None:
    """Raise `FileExistsError` where a folder is taken, before work is spent on what should go there."""
    if path is not None:
        _check_free(Path(path).expanduser().resolve())


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
    cells: Callable[[Manifest], CellSet | None] | None = None,
) -> Model:
    """Write a model folder that holds a model and a readout on it.

    Parameters
    ----------
    file, content
        Name of the JSON file, such as ``"labels.json"``, and what it holds; the model's name and hash are added.
    prefix, tensors
        Prefix such as ``"classifier."``, and the arrays of the readout by name.
    metrics
        Held-out results of the readout; joined with the model's own in ``metrics.json`` under the prefix.
    about
        Text that is put before the model's own card in ``README.md``.
    cells
        Gives the training set of the readout, to be added to that of the model; `None` where it is not known.
    """
    from scflyformer._version import __version__

    from ._manifest import Manifest

    name = prefix.rstrip(".")
    made = {"scflyformer": __version__, "date": datetime.now(UTC).date().isoformat()}
    card = model.path / "README.md"
    manifest = None
    if cells is not None:
        manifest = Manifest.of_model(model)
        found = cells(manifest)
        manifest = replace(manifest, unknown=(*manifest.unknown, name)) if found is None else manifest.add([found])
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
        manifest=manifest,
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
    """Open a folder that :func:`save_head` wrote, or a readout that ships: model, content of the JSON file, tensors.

    Parameters
    ----------
    keys, names
        Entries that the JSON file must have, and tensors that must be there.
    what
        What the folder should be, for messages: ``"classifier"``.
    """
    from ._load import load
    from ._shipped import load_shipped, shipped_readouts

    shipped = shipped_readouts(file)
    if isinstance(name_or_path, str) and name_or_path in shipped:
        return load_shipped(name_or_path, file)
    try:
        model = load(name_or_path)
    except ModelNameError as error:
        known = ", ".join(map(repr, shipped)) or "none"
        raise ModelNameError(
            f"A {what} is one that ships ({known}), or a folder that an earlier call wrote with save=. {error}"
        ) from error
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
