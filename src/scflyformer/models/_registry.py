"""The registered models: those of the package, and those that a laboratory adds in a JSON file of its own."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scflyformer._settings import settings

from ._errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable

BUNDLED = Path(__file__).parent
SHIPPED_MODEL = "fly-tiny"
"""The model of the wheel that messages name where another cannot be had."""
_SHIPPED = BUNDLED / "registry.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """What a registry says of a model.

    Attributes
    ----------
    bundled
        Whether it ships in the wheel.
    url, sha256, size
        Address, hash and bytes of a zip archive of the model folder; no address for a bundled or an unreleased model.
    model_sha256
        The model's own hash (:attr:`Model.sha256`).
    """

    name: str
    description: str = ""
    species: str = ""
    bundled: bool = False
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    model_sha256: str | None = None

    @property
    def folder(self) -> Path:
        """Where the wheel holds the model, if it is bundled."""
        return BUNDLED / self.name

    @property
    def released(self) -> bool:
        """Whether the model can be had."""
        return self.bundled or self.url is not None


def checkout() -> Path | None:
    """Return the folder `models` of the source tree that the package runs from; `None` for an installed package."""
    root = BUNDLED.parents[2]  # of <root>/src/scflyformer/models
    project = root / "pyproject.toml"
    ours = project.is_file() and '\nname = "scflyformer"\n' in project.read_text(encoding="utf-8", errors="replace")
    return root / "models" if ours else None


def registered() -> dict[str, Entry]:
    """Return the registered models by name: the package's first, then those of `settings.registry_file`."""
    entries = read_registry(_SHIPPED)
    if settings.registry_file is None:
        return entries
    for name, entry in read_registry(settings.registry_file).items():
        ours = entries.get(name)
        if ours and (ours.released or ours.model_sha256 not in (None, entry.model_sha256)):
            raise RegistryError(
                f"{settings.registry_file} lists {name!r}, which the package lists already; one name must mean one "
                f"model. Choose another name there."
            )
        entries[name] = entry
    return entries


def read_registry(path: Path) -> dict[str, Entry]:
    """Read a registry file, a JSON object of names, each with the fields of :class:`Entry`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RegistryError(
            f"The registry file {path} cannot be read ({error.strerror}). Correct SCFLYFORMER_REGISTRY, or unset it."
        ) from error
    except ValueError as error:
        raise RegistryError(f"The registry file {path} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise RegistryError(f"The registry file {path} holds a {type(content).__name__}; expected an object of names.")
    return {name: _read_entry(name, values, path) for name, values in content.items()}


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return the names of ``known`` that look like ``name``, whatever their case."""
    folded = {candidate.casefold(): candidate for candidate in known}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]


def is_name(text: str) -> bool:
    """Whether ``text`` could be the name of a model."""
    return _NAME.fullmatch(text) is not None


def _read_entry(name: str, values: Any, path: Path) -> Entry:
    def wrong(what: str) -> RegistryError:
        return RegistryError(f"{path}, model {name!r}: {what}.")

    if not is_name(name):
        raise wrong("a name is made of letters, digits, '.', '_' and '-'")
    if not isinstance(values, dict):
        raise wrong(f"got {values!r}; expected an object with url, sha256 and so on")
    allowed = [field.name for field in fields(Entry) if field.name != "name"]
    unknown = sorted(set(values) - set(allowed))
    if unknown:
        raise wrong(f"unknown field(s) {', '.join(unknown)}; expected some of {', '.join(allowed)}")
    for key, value in values.items():
        kind = bool if key == "bundled" else int if key == "size" else str
        if value is not None and type(value) is not kind:
            raise wrong(f"{key} is {value!r}; expected {kind.__name__}")
    entry = Entry(name=name, **{key: value for key, value in values.items() if value is not None})
    if entry.bundled and path != _SHIPPED:
        raise wrong("only the package's own models can be bundled; give a url")
    if entry.url is not None and not entry.url.startswith(("https://", "http://")):
        raise wrong(f"url is {entry.url!r}; expected http:// or https://. For a folder on disk use SCFLYFORMER_MODELS")
    if entry.url is not None and entry.sha256 is None:
        raise wrong("it has a url and no sha256; nothing is fetched unchecked")
    for key, value in (("sha256", entry.sha256), ("model_sha256", entry.model_sha256)):
        if value is not None and not _HASH.fullmatch(value):
            raise wrong(f"{key} is {value!r}; expected 64 lower-case hexadecimal digits")
    return entry
