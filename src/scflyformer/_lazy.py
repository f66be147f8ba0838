"""Names of a package that are imported when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(
    package: str, *, names: Mapping[str, str] | None = None, submodules: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package whose names load on first use.

    ``names`` maps a public name to the private module, relative to the package, that defines it:
    ``{"embed": "_embed"}``. One more dot in front leads to the package around it.
    """
    origin = dict(names or {})
    public = sorted({*origin, *submodules})

    def __getattr__(name: str) -> Any:
        if name in submodules:
            value: Any = import_module(f"{package}.{name}")
        elif name in origin:
            value = getattr(import_module(f".{origin[name]}", package), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(public)}")
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*public, *(name for name in vars(sys.modules[package]) if name.startswith("__"))})

    return __getattr__, __dir__, public
