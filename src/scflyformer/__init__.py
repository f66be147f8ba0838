"""Transformer models of single fly cells: embedding, annotation, ageing clocks and perturbation on AnnData.

Importing the package is cheap: torch, scanpy and the others load when a function first needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lazy import attach
from ._version import __version__

if TYPE_CHECKING:
    from . import datasets as datasets
    from . import get as get
    from . import models as models
    from . import pl as pl
    from . import pp as pp
    from . import tl as tl
    from ._settings import settings as settings

__getattr__, __dir__, __all__ = attach(
    __name__,
    names={"settings": "_settings"},
    submodules=("datasets", "get", "models", "pl", "pp", "tl"),
)
__all__ += ["__version__"]
