"""A model folder: check it, open it, hash it. Opening one from a stranger is safe: nothing in it is ever run."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._errors import ModelFolderError
from ._model import Model

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary

HASHED = ("config.json", "model.safetensors", "vocab.tsv")
REQUIRED = (*HASHED, "metrics.json", "provenance.json", "README.md")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
# Settings that make transformers read other files, fetch code, or run it.
UNSAFE = ("auto_map", "attn_implementation", "experts_implementation", "quantization_config", "transformers_weights")
_WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LARGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"
_REMEDY = "Give the folder of a model trained by scflyformer.tl.pretrain, or a name of scflyformer.models.list()."
_AGAIN = "Copy or fetch the folder again, whole."


def open_folder(path: str | os.PathLike[str], *, name: str | None = None) -> Model:
    """Check a model folder and open it; the weights are checked for completeness and loaded later."""
    folder = Path(path).expanduser().absolute()
    config, vocabulary = check_folder(folder)
    return Model(
        name=name or folder.resolve().name,
        path=folder,
        sha256=model_hash(folder),
        vocabulary=vocabulary,
        config=config,
        metrics=_read_json(folder / "metrics.json"),
        provenance=_read_json(folder / "provenance.json"),
    )


def check_folder(folder: Path) -> tuple[dict[str, Any], Vocabulary]:
    """Return configuration and vocabulary, or raise :class:`ModelFolderError` unless ``folder`` is a whole model."""
    from scflyformer.genes._vocabulary import Vocabulary

    files = _file_names(folder)
    config = _check_kind(folder, files)
    missing = [file for file in REQUIRED if file not in files]
    if missing:
        raise ModelFolderError(
            f"{folder} is an incomplete model folder: it lacks {', '.join(missing)}. "
            f"Expected {', '.join(REQUIRED)}. {_AGAIN}"
        )
    weights = folder / "model.safetensors"
    try:
        shapes = tensor_shapes(weights)
    except ValueError as error:
        raise ModelFolderError(f"{weights} cannot be used: {error}. {_AGAIN}") from error
    try:
        vocabulary = Vocabulary.read(folder / "vocab.tsv")
    except (ValueError, KeyError, TypeError) as error:  # pandas' parser errors are ValueErrors
        raise ModelFolderError(f"{folder / 'vocab.tsv'} cannot be used: {error} {_AGAIN}") from error
    n_tokens, width = config["vocab_size"], config["hidden_size"]
    if vocabulary.n_tokens != n_tokens:
        raise ModelFolderError(
            f"{folder}: vocab.tsv has {vocabulary.n_tokens} tokens and config.json says vocab_size {n_tokens}; "
            f"expected the same number. The files come from different models or one is cut short. {_AGAIN}"
        )
    if shapes.get(_WORD_EMBEDDINGS) != (n_tokens, width):
        raise ModelFolderError(
            f"{weights} holds {_WORD_EMBEDDINGS} of shape {shapes.get(_WORD_EMBEDDINGS)}; config.json calls for "
            f"{(n_tokens, width)}. The files come from different models. {_AGAIN}"
        )
    for file in ("metrics.json", "provenance.json"):
        _read_json(folder / file)
    return config, vocabulary


def model_hash(folder: Path) -> str:
    """Return the model's hash: that of the lines which ``sha256sum`` prints for the files that make the numbers."""
    lines = []
    for name in HASHED:
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_names(folder: Path) -> list[str]:
    if not folder.exists():
        raise ModelFolderError(f"There is no folder {folder}; expected a model folder. {_REMEDY}")
    if not folder.is_dir():
        unpack = " Unpack it and give the folder." if folder.suffix == ".zip" else ""
        raise ModelFolderError(f"{folder} is a file; expected a model folder.{unpack} {_REMEDY}")
    files = sorted(os.listdir(folder))
    if not files:
        raise ModelFolderError(f"The folder {folder} is empty; expected {', '.join(REQUIRED)}. {_REMEDY}")
    return files


def _check_kind(folder: Path, files: list[str]) -> dict[str, Any]:
    """Tell whose folder it is before its parts are judged; return the configuration."""
    pickles = [name for name in files if name.lower().endswith(PICKLES)]
    if "model.safetensors" not in files and pickles:
        raise ModelFolderError(
            f"{folder} holds its weights as pickle ({', '.join(pickles[:3])}), which can run anyone's code when it is "
            f"opened, and no model.safetensors; pickle is never read. {_REMEDY}"
        )
    if "config.json" not in files:
        inside = [name for name in files if (folder / name / "config.json").is_file()]
        meant = f" Did you mean {folder / inside[0]}?" if inside else ""
        shown = ", ".join(files[:5]) + (", …" if len(files) > 5 else "")
        raise ModelFolderError(f"{folder} is not a model folder: it has no config.json, only {shown}.{meant} {_REMEDY}")
    config = _read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind != "bert":
        raise ModelFolderError(f"{folder} holds a model of type {kind!r}; expected a 'bert' of scflyformer. {_REMEDY}")
    if "vocab.tsv" not in files and not {"metrics.json", "provenance.json"} & set(files):
        made = ", ".join(map(str, config.get("architectures") or ["BERT"]))
        raise ModelFolderError(
            f"{folder} holds another package's {made} (Geneformer's folders look so): it has no vocab.tsv, so its "
            f"tokens have no known genes. {_REMEDY}"
        )
    if "adapter_config.json" in files:
        raise ModelFolderError(
            f"{folder} holds an adapter (adapter_config.json), which would load further weights from elsewhere; "
            f"expected the whole model in model.safetensors. Merge the adapter and save the model again."
        )
    unsafe = [key for key in config if key.lstrip("_") in UNSAFE and config[key] is not None]
    if unsafe:
        raise ModelFolderError(
            f"{folder / 'config.json'} sets {', '.join(unsafe)}, which could load code or weights from elsewhere; "
            f"a model folder never needs that. Remove the setting if you trust the folder."
        )
    for key in ("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise ModelFolderError(
                f"{folder / 'config.json'} says {key} is {config.get(key)!r}; expected a whole number above 0. {_AGAIN}"
            )
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{path} is not readable as JSON ({error}). {_AGAIN}") from error
    if not isinstance(content, dict):
        raise ModelFolderError(f"{path} holds a {type(content).__name__}; expected a JSON object. {_AGAIN}")
    return content


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file, from its header; no tensor is loaded.

    The layout is that of the format's specification (https://github.com/huggingface/safetensors): eight bytes with
    the header's length, a JSON header, then the tensors without gaps up to the end of the file.

    Raises
    ------
    ValueError
        When the file is cut short, has bytes too many, or is not a safetensors file; the message says which.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if _LFS_POINTER.startswith(start) and start:
            raise ValueError("it is a Git LFS pointer and not the weights; run `git lfs pull` where it was cloned")
        length = int.from_bytes(start, "little")
        if size < 8 or (length <= _LARGEST_HEADER and 8 + length > size):
            raise ValueError(f"it is cut short: its {size:,} bytes end before its header does")
        if not 0 < length <= _LARGEST_HEADER:
            raise ValueError("it is not a safetensors file: the first eight bytes are no header length")
        try:
            header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            spans = {name: _span(entry) for name, entry in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("it is not a safetensors file: its header cannot be read") from error
    end = 0
    for name, (begin, stop, need) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != end or stop - begin != need:
            raise ValueError(f"its header is inconsistent at tensor {name!r}")
        end = stop
    if 8 + length + end != size:
        expected = 8 + length + end
        how = "cut short" if size < expected else "longer than its header says"
        raise ValueError(f"it is {how}: {size:,} bytes, expected {expected:,}")
    return {name: tuple(entry["shape"]) for name, entry in tensors.items()}


def _span(entry: dict) -> tuple[int, int, int]:
    """Return where a tensor begins and ends, and the bytes that its shape and type call for."""
    begin, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)):
        raise ValueError("sides and offsets must be whole numbers from 0 on")
    return begin, stop, math.prod(shape) * _BYTES[entry["dtype"]]
