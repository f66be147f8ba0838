"""Write a model folder: all of it or nothing."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ModelFolderError
from ._folder import PICKLES, REQUIRED, check_folder, open_folder
from ._model import Model, quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from transformers import PreTrainedModel

    from scflyformer.genes._vocabulary import Vocabulary

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
    overwrite: bool = False,
) -> Model:
    """Write a model folder and open it.

    Everything is written beside ``path``, checked, and then renamed, so ``path`` never holds half a model.

    Parameters
    ----------
    path
        The folder to make.
    network
        The network; its weights are written in the number format they have.
    vocabulary
        The genes, one per token after the special ones.
    metrics
        Held-out results; numbers that are not finite become null.
    provenance
        Data, seeds, versions, hardware, date.
    card
        Text of ``README.md``.
    extra_files
        Further text files by name, such as ``{"labels.json": "…"}``.
    extra_tensors
        Further tensors for ``model.safetensors`` by full name, such as ``{"classifier.weight": …}``.
    overwrite
        Replace a model folder that is already there. A folder that is not a model is never replaced.

    Returns
    -------
    The saved model, opened.

    Raises
    ------
    FileExistsError
        When ``path`` is taken.
    ModelFolderError
        When the parts do not make a model folder.
    """
    target = Path(path).expanduser().resolve()
    extra_files = dict(extra_files or {})
    for name in extra_files:
        if Path(name).name != name or name in REQUIRED or name == CHECKPOINTS or name.lower().endswith(PICKLES):
            raise ValueError(f"extra file {name!r}; expected a plain file name other than {', '.join(REQUIRED)}.")
    _check_free(target, overwrite=overwrite)
    with staging_folder(target.parent, target.name) as staged:
        with quiet_transformers():
            network.save_pretrained(staged)
        if extra_tensors:
            _add_tensors(staged / "model.safetensors", extra_tensors)
        vocabulary.write(staged / "vocab.tsv")
        texts = {"metrics.json": to_json(metrics), "provenance.json": to_json(provenance), "README.md": card}
        for name, text in (texts | extra_files).items():
            (staged / name).write_text(text, encoding="utf-8")
        _open_to_others(staged)
        check_folder(staged)
        _put(staged, target)
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
    return json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
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


def _check_free(target: Path, *, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and set(os.listdir(target)) <= {CHECKPOINTS}):
        return
    if not target.is_dir():
        raise FileExistsError(f"{target} is a file; give the name of a folder to make.")
    if not overwrite:
        raise FileExistsError(f"The folder {target} exists and is not empty. Give another name, or overwrite it.")
    try:
        check_folder(target)
    except ModelFolderError as error:
        raise FileExistsError(
            f"The folder {target} holds something other than a whole model and is not replaced. "
            f"Remove it yourself, or give another name. ({error})"
        ) from error


def _put(staged: Path, target: Path) -> None:
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
