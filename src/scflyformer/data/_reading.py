"""How expression is read from an object, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from scflyformer.genes._synonyms import SynonymTable


@dataclass(frozen=True)
class Reading:
    """Which values are read, and by which names their genes go.

    Attributes
    ----------
    layer
        Layer with the expression; `X` where `None`.
    gene_key
        Column of `var` with the gene names; `var_names` where `None`.
    synonyms
        A FlyBase synonym file or table, or ``"flybase"`` to fetch it; that of the settings where `None`.
    """

    layer: str | None = None
    gene_key: str | None = None
    synonyms: str | os.PathLike[str] | SynonymTable | None = None


AS_IT_IS = Reading()
"""`X` by `var_names`."""
