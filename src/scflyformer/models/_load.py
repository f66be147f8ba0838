"""Open a model by name or from its folder.

Which model a name means never depends silently on what is on disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scflyformer import _log
from scflyformer._settings import settings

from ._errors import ModelFolderError, ModelNameError
from ._fetch import cache_path, retrieve
from ._folder import model_hash, open_folder
from ._model import Model
from ._registry import SHIPPED_MODEL, Entry, checkout, is_name, near, registered

Origin = Literal["path", "folder", "wheel", "checkout", "download"]


@dataclass(frozen=True)
class Place:
    """Where a model is; an origin of "path" was given as such, "folder" is one of SCFLYFORMER_MODELS."""

    name: str | None
    path: Path
    origin: Origin
    entry: Entry | None = None


def load(name_or_path: str | os.PathLike[str]) -> Model:
    """Open a model by name or from its folder.

    Parameters
    ----------
    name_or_path
        A name: looked up in the folders of `SCFLYFORMER_MODELS`, then in the package, then in `models/` of the source
        tree that the package runs from (if it is the registered model, by its hash), then fetched and kept in the
        cache (`SCFLYFORMER_CACHE`). A path object, or text with a separator, is always a folder. Text without one
        that no registry knows is a folder of `SCFLYFORMER_MODELS` or of the current one; a registered name never
        means a folder of the current one (for that, type ``"./name"``).

    Returns
    -------
    The model: `name`, `path`, `sha256`, `vocabulary`, `config`, `max_len` (gene tokens), `hidden_size`, `metrics`,
    `provenance`, and the method `network()`, which loads the weights when it is first called.

    Raises
    ------
    ModelNameError
        For a name of no model, of an unreleased one, or of more than one. A `ValueError`.
    ModelFolderError
        For a folder that is missing, empty, foreign, incomplete or damaged. A `ValueError`.
    ModelFetchError
        For a model that could not be fetched, with the way to fetch it by hand. A `RuntimeError`.

    Examples
    --------
    >>> import scflyformer as sf
    >>> model = sf.models.load("fly-tiny")
    >>> model.name, model.max_len, model.embedding_size
    ('fly-tiny', 2048, 180)
    >>> model.metrics["held_out"]["split_unit"]
    'sample'

    The same model, by its folder:

    >>> sf.models.load(model.path).sha256 == model.sha256
    True
    """
    place = locate(name_or_path)
    model = open_folder(place.path, name=place.name)
    if place.origin != "path":
        _report_origin(place, model)
    return model


def locate(name_or_path: str | os.PathLike[str]) -> Place:
    """Find the folder that a name or a path stands for; a registered model is fetched if need be."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"model is {name_or_path!r}; expected a name of scflyformer.models.list() or a folder.")
    if is_path(name_or_path):
        return Place(None, Path(name_or_path).expanduser(), "path")
    name = os.fspath(name_or_path)
    if not name.strip():
        raise ModelNameError("model is empty; expected a name of scflyformer.models.list() or a folder.")
    entry = registered().get(name)
    for folder in settings.model_folders:
        if not folder.is_dir():  # else another model could run, unnoticed, because a disk is not mounted
            _log.warning(f"SCFLYFORMER_MODELS names {folder}, which is not a folder; no model is looked for there.")
    mirrored = in_folders(name)
    here = Path(name)
    if entry is None:
        if mirrored and here.is_dir() and not here.samefile(mirrored):
            raise ModelNameError(
                f"{name!r} means two models: {mirrored}, by SCFLYFORMER_MODELS, and the folder {here.absolute()}. "
                f"Say './{name}' for the latter, or the whole path for either."
            )
        if mirrored:
            return Place(name, mirrored, "folder")
        if here.is_dir():
            return Place(None, here, "path")
        raise _unknown_name(name)
    place = _registered_place(entry, mirrored)
    if (here / "config.json").is_file() and not here.samefile(place.path):
        _log.warning(
            f"{name!r} is a registered name, so the model in {place.path} runs and the folder {here.absolute()} does "
            f"not. Say './{name}' for that folder."
        )
    return place


def at_hand(name: str) -> bool:
    """Whether a registered model is on this computer, so that opening it fetches nothing."""
    entry = registered()[name]
    there = in_folders(name) is not None or entry.bundled or held_copy(entry) is not None
    return there or cache_path(entry).is_dir()


def is_path(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether this is a path by its form: a path object, or text with a separator, `.`, `..` or a leading `~`."""
    if not isinstance(name_or_path, str):
        return True
    separators = {"/", os.sep, os.altsep or "/"}
    return any(mark in name_or_path for mark in separators) or name_or_path in (".", "..") or name_or_path[:1] == "~"


def in_folders(name: str) -> Path | None:
    """Return the first folder of that name in the folders of SCFLYFORMER_MODELS."""
    for folder in settings.model_folders:
        if is_name(name) and (folder / name).is_dir():
            return folder / name
    return None


def held_copy(entry: Entry) -> tuple[Path, Literal["wheel", "checkout"]] | None:
    """Return where a model that need not be there lies with the code, and in what; only if it is the registered one."""
    tree = checkout()
    places: list[tuple[Path, Literal["wheel", "checkout"]]] = [(entry.folder, "wheel")]
    places += [] if tree is None else [(tree / entry.name, "checkout")]
    for folder, origin in places:
        if not folder.is_dir():
            continue
        try:
            got = model_hash(folder)
        except OSError as error:
            got = f"none ({error})"
        if got == entry.model_sha256:
            return folder, origin
        _log.warning(
            f"{folder} is not used: its hash is {got}, that of the registered model {entry.name!r} is "
            f"{entry.model_sha256}. Restore the folder, or give its path to run it as it is."
        )
    return None


def names_in_folders() -> list[str]:
    """Return the names of the model folders in the folders of SCFLYFORMER_MODELS."""
    folders = [folder for folder in settings.model_folders if folder.is_dir()]
    found = {item.name for folder in folders for item in folder.iterdir() if (item / "config.json").is_file()}
    return sorted(name for name in found if is_name(name))


def _registered_place(entry: Entry, mirrored: Path | None) -> Place:
    if mirrored:
        return Place(entry.name, mirrored, "folder", entry)
    if entry.bundled:
        if not entry.folder.is_dir():
            raise ModelFolderError(
                f"The model {entry.name!r} belongs into the package, but there is no {entry.folder}. Install "
                f"scflyformer again, or put the model folder {entry.name!r} into a folder of SCFLYFORMER_MODELS."
            )
        return Place(entry.name, entry.folder, "wheel", entry)
    if found := held_copy(entry):
        return Place(entry.name, *found, entry)
    if not entry.released:
        raise ModelNameError(
            f"The model {entry.name!r} is not released yet: it has no address to fetch it from. Use "
            f"model={SHIPPED_MODEL!r}, which ships with the package, or put a model folder {entry.name!r} into a "
            f"folder of SCFLYFORMER_MODELS (in a clone of the repository, look into its folder models)."
        )
    return Place(entry.name, retrieve(entry), "download", entry)


def _report_origin(place: Place, model: Model) -> None:
    expected = _expected_hash(place.entry)
    if expected not in (None, model.sha256):
        what = f"{place.name!r} runs from {place.path} with hash {model.sha256[:12]}; the registered model of that name"
        advice = "Rename the folder unless that is meant." if place.origin == "folder" else "Was it changed by hand?"
        _log.warning(f"{what} has hash {str(expected)[:12]}. {advice}")
    elif place.origin == "folder":
        _log.info(f"model {place.name!r} ({model.sha256[:12]}) from {place.path}")


def _expected_hash(entry: Entry | None) -> str | None:
    if entry is None:
        return None
    if entry.model_sha256:
        return entry.model_sha256
    try:
        return model_hash(entry.folder) if entry.bundled else None
    except OSError:  # the installation lacks it
        return None


def _unknown_name(name: str) -> ModelNameError:
    entries = registered()
    known = [*entries, *(name for name in names_in_folders() if name not in entries)]
    close = near(name, known)
    meant = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return ModelNameError(
        f"No model is named {name!r}, and there is no such folder.{meant} Registered: {', '.join(known)}. "
        f"Give one of these names, or the path of a model folder."
    )
