"""How the network runs, as one object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from scflyformer._settings import settings

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class Running:
    """How the network runs; ``"auto"`` follows the settings."""

    device: str = AUTO
    dtype: str = AUTO
    batch_tokens: int | Literal["auto"] = AUTO  # padding included

    @classmethod
    def as_set(cls) -> Running:
        """Return what the settings say now."""
        return cls(settings.device, settings.dtype, settings.batch_tokens)

    def exact(self) -> Running:
        """Return this, in float32 unless a format was asked for: on every device, since small differences count."""
        return replace(self, dtype="float32") if self.dtype == AUTO else self


AS_SET = Running()
"""As the settings say when it is used."""
