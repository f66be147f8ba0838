"""How the network runs, as one object, and warnings of arguments that will go."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

from scflyformer._settings import settings

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class Running:
    """How the network runs; ``"auto"`` follows the settings.

    Attributes
    ----------
    device
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    dtype
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    batch_tokens
        Tokens a batch, padding included.
    """

    device: str = AUTO
    dtype: str = AUTO
    batch_tokens: int | Literal["auto"] = AUTO

    @classmethod
    def of_call(cls, tool: str, device: str, dtype: str, batch_tokens: int | Literal["auto"]) -> Running:
        """Return what the settings say, or a call, with a warning that its arguments have become settings."""
        asked: dict[str, Any] = {"device": device, "dtype": dtype, "batch_tokens": batch_tokens}
        for name, value in asked.items():
            if value == AUTO:
                asked[name] = getattr(settings, name)
            else:
                _warn_moved(tool, name, value)
        return cls(**asked)

    def exact(self) -> Running:
        """Return this, in float32 unless a format was asked for: on every device, since small differences count."""
        return replace(self, dtype="float32") if self.dtype == AUTO else self


AS_SET = Running()
"""As the settings say when it is used."""


def synonyms_of_call(tool: str, synonyms: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """Return the synonym file that the settings name, or a call, with a warning that it has become a setting."""
    if synonyms is None:
        return settings.synonyms
    _warn_moved(tool, "synonyms", synonyms)
    return synonyms


def _warn_moved(tool: str, name: str, value: object) -> None:
    """Say that an argument of a call has become a setting."""
    instead = f"Use sf.settings.{name} = {value!r}, or `with sf.settings.override({name}={value!r}):` for some calls."
    warn_deprecated(tool, name, instead, stacklevel=5)


def warn_deprecated(tool: str, name: str, instead: str, *, stacklevel: int = 3) -> None:
    """Say that an argument of a public function will go, and what to write instead."""
    message = f"{tool}({name}=...) is deprecated and will go with the next release. {instead}"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
