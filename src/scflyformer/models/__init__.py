"""Models: list, fetch and load them by name or from a folder, and ask which cells they were trained on.

What `load` returns is a `Model`; what goes wrong is a `ModelFolderError`, `ModelNameError`, `RegistryError` (each a
`ValueError`) or a `ModelFetchError` (a `RuntimeError`). These names are importable from here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from ..data._contamination import contamination as contamination
    from ._errors import ModelFetchError as ModelFetchError
    from ._errors import ModelFolderError as ModelFolderError
    from ._errors import ModelNameError as ModelNameError
    from ._errors import RegistryError as RegistryError
    from ._fetch import fetch
    from ._list import list
    from ._load import load
    from ._model import Model as Model

__getattr__, __dir__, _ = attach(
    __name__,
    names={
        "Model": "_model",
        "ModelFetchError": "_errors",
        "ModelFolderError": "_errors",
        "ModelNameError": "_errors",
        "RegistryError": "_errors",
        "contamination": ".data._contamination",
        "fetch": "_fetch",
        "list": "_list",
        "load": "_load",
    },
)
__all__ = ["contamination", "fetch", "list", "load"]
