"""How expression is read from an object, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scflyformer._settings import settings

if TYPE_CHECKING:
    import os

    from scflyformer.genes._synonyms import SynonymTable


@dataclass(frozen=True)
class Reading:
    """Which values are read, and by which names their genes go."""

    layer: str | None = None  # `X` where `None`
    gene_key: str | None = None  # column of `var`; `var_names` where `None`
    synonyms: str | os.PathLike[str] | SynonymTable | None = None
    """A FlyBase synonym file or table, or ``"flybase"`` to fetch it."""

    @classmethod
    def as_set(cls, layer: str | None, gene_key: str | None) -> Reading:
        """Return what a call asks for, with the synonyms that the settings name."""
        return cls(layer, gene_key, settings.synonyms)


AS_IT_IS = Reading()
"""`X` by `var_names`."""
