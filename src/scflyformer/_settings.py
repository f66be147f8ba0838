"""Settings of the package: which model runs, where it runs and where models are looked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from scflyformer._words import one_of

DEFAULT_MODEL = "fly"
"""Name of the model that runs where neither a call, an embedding nor the settings name one."""

Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class _Unset:
    """What a setting is not changed by; its name stands in signatures."""

    def __repr__(self) -> str:
        return "unset"


_UNSET: Any = _Unset()


def platform_cache() -> Path:
    """Folder where the operating system wants an application's cache; it is not created."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scflyformer"


class Settings:
    """What holds for every call that does not say otherwise.

    A value that was set here wins over the environment, and the environment over the default. Environment variables
    are read when a value is used, so that a change after import counts.

    Examples
    --------
    >>> import scflyformer as sf
    >>> sf.settings.device = "cpu"
    >>> sf.settings
    scflyformer settings
      model_folders = ...
      cache_folder = ...
      registry_file = None
      model = 'fly'
      device = 'cpu'
      dtype = 'auto'
      batch_tokens = 'auto'
      synonyms = None
    >>> sf.settings.reset()
    >>> sf.settings.device
    'auto'
    """

    _names = ("model_folders", "cache_folder", "registry_file", "model", "device", "dtype", "batch_tokens", "synonyms")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """Folders that hold model folders, searched before the wheel and the network (`SCFLYFORMER_MODELS`)."""
        if "model_folders" in self._values:
            return self._values["model_folders"]
        listed = os.environ.get("SCFLYFORMER_MODELS", "").split(os.pathsep)
        return tuple(Path(folder).expanduser() for folder in listed if folder.strip())

    @model_folders.setter
    def model_folders(self, folders: str | os.PathLike[str] | list[Any] | tuple[Any, ...]) -> None:
        if isinstance(folders, str | os.PathLike):
            folders = [folders]
        self._values["model_folders"] = tuple(Path(folder).expanduser() for folder in folders)

    @property
    def cache_folder(self) -> Path:
        """Folder for downloaded models (`SCFLYFORMER_CACHE`, else the platform's cache)."""
        if "cache_folder" in self._values:
            return self._values["cache_folder"]
        named = os.environ.get("SCFLYFORMER_CACHE", "").strip()
        return Path(named).expanduser() if named else platform_cache()

    @cache_folder.setter
    def cache_folder(self, folder: str | os.PathLike[str]) -> None:
        self._values["cache_folder"] = Path(folder).expanduser()

    @property
    def registry_file(self) -> Path | None:
        """JSON file of models added to the shipped list (`SCFLYFORMER_REGISTRY`); `None` for the shipped list alone."""
        if "registry_file" in self._values:
            return self._values["registry_file"]
        named = os.environ.get("SCFLYFORMER_REGISTRY", "").strip()
        return Path(named).expanduser() if named else None

    @registry_file.setter
    def registry_file(self, file: str | os.PathLike[str] | None) -> None:
        self._values["registry_file"] = None if file is None else Path(file).expanduser()

    @property
    def model(self) -> str | Path:
        """Model, by name or folder, of calls with ``model=None`` on cells without an embedding; "fly" unless set."""
        return self._values.get("model", DEFAULT_MODEL)

    @model.setter
    def model(self, model: str | os.PathLike[str]) -> None:
        if not isinstance(model, str | os.PathLike) or not os.fspath(model):
            raise ValueError(f"model is {model!r}; expected the name of a model or its folder.")
        self._values["model"] = model if isinstance(model, str) else Path(model).expanduser()

    @property
    def device(self) -> Device:
        """Device that the network runs on; "auto", unless set, which takes cuda, else mps, else cpu."""
        return self._values.get("device", "auto")

    @device.setter
    def device(self, device: Device) -> None:
        self._values["device"] = one_of("device", device, get_args(Device))

    @property
    def dtype(self) -> Dtype:
        """Number format that the network runs in; "auto", unless set.

        That is bfloat16 on CUDA and float32 elsewhere; in `tl.perturb`, `tl.clock_genes` and `tl.annotation_genes`,
        where small differences count, float32 everywhere.
        """
        return self._values.get("dtype", "auto")

    @dtype.setter
    def dtype(self, dtype: Dtype) -> None:
        self._values["dtype"] = one_of("dtype", dtype, get_args(Dtype))

    @property
    def batch_tokens(self) -> int | Literal["auto"]:
        """Tokens a batch, padding included; "auto", unless set, which goes by the device.

        Memory grows with it, results do not depend on it. Where memory does not suffice, a batch is halved until it
        does, which the log says.
        """
        return self._values.get("batch_tokens", "auto")

    @batch_tokens.setter
    def batch_tokens(self, batch_tokens: int | Literal["auto"]) -> None:
        if batch_tokens != "auto":
            require_batch_tokens(batch_tokens)
        self._values["batch_tokens"] = batch_tokens

    @property
    def synonyms(self) -> str | Path | None:
        """Synonym file for gene names that a model's vocabulary does not list; none, unless set.

        A FlyBase ``fb_synonym_fb_YYYY_MM.tsv(.gz)`` or a table name, tab, FBgn; ``"flybase"`` or a release such as
        ``"FB2025_01"`` is fetched and kept in the cache folder.
        """
        return self._values.get("synonyms")

    @synonyms.setter
    def synonyms(self, synonyms: str | os.PathLike[str] | None) -> None:
        if synonyms is not None and not isinstance(synonyms, str | os.PathLike):
            raise ValueError(f"synonyms is {synonyms!r}; expected a file, 'flybase' or None.")
        self._values["synonyms"] = synonyms if isinstance(synonyms, str | None) else Path(synonyms).expanduser()

    def reset(self) -> None:
        """Forget every value that was set, so that environment and defaults hold again.

        Examples
        --------
        >>> import scflyformer as sf
        >>> sf.settings.dtype = "float32"
        >>> sf.settings.reset()
        >>> sf.settings.dtype
        'auto'
        """
        self._values.clear()

    @contextmanager
    def override(
        self,
        *,
        model_folders: Any = _UNSET,
        cache_folder: Any = _UNSET,
        registry_file: Any = _UNSET,
        model: Any = _UNSET,
        device: Any = _UNSET,
        dtype: Any = _UNSET,
        batch_tokens: Any = _UNSET,
        synonyms: Any = _UNSET,
    ) -> Iterator[Settings]:
        """Set values within a `with` block; what held before holds again after it.

        Parameters
        ----------
        model_folders
            See :attr:`model_folders`.
        cache_folder
            See :attr:`cache_folder`.
        registry_file
            See :attr:`registry_file`.
        model
            See :attr:`model`.
        device
            See :attr:`device`.
        dtype
            See :attr:`dtype`.
        batch_tokens
            See :attr:`batch_tokens`.
        synonyms
            See :attr:`synonyms`.

        Returns
        -------
        A context manager that yields the settings.

        Examples
        --------
        >>> import scflyformer as sf
        >>> with sf.settings.override(device="cpu", dtype="float32"):
        ...     sf.settings.dtype
        'float32'
        >>> sf.settings.dtype
        'auto'
        """
        asked = {
            "model_folders": model_folders,
            "cache_folder": cache_folder,
            "registry_file": registry_file,
            "model": model,
            "device": device,
            "dtype": dtype,
            "batch_tokens": batch_tokens,
            "synonyms": synonyms,
        }
        before = dict(self._values)
        try:
            for name, value in asked.items():
                if value is not _UNSET:
                    setattr(self, name, value)
            yield self
        finally:
            self._values = before

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in (*self._names, "_values"):
            raise AttributeError(f"no setting named {name!r}; settings are: {', '.join(self._names)}")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return "\n".join(["scflyformer settings", *(f"  {name} = {getattr(self, name)!r}" for name in self._names)])


def require_batch_tokens(batch_tokens: Any) -> None:
    """Raise `ValueError` for what is no number of tokens."""
    if not hasattr(batch_tokens, "__index__") or isinstance(batch_tokens, bool) or batch_tokens < 1:
        raise ValueError(f"batch_tokens={batch_tokens!r} must be 'auto' or a whole number of at least 1.")


settings = Settings()
"""The settings in force."""
