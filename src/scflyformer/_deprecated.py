"""Arguments that are accepted for one release more: the call warns and does what it did."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from scflyformer._settings import settings

P = ParamSpec("P")
R = TypeVar("R")
_PACKAGE = str(Path(__file__).parent)
_FORMER: ContextVar[Mapping[str, Any]] = ContextVar("_FORMER")


def moved_to_settings(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a public function take arguments that have become settings of the same names, which are set for the call."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> R:
            asked = {name: given.pop(name) for name in names if name in given}
            asked = {name: value for name, value in asked.items() if value not in (None, "auto")}
            for name, value in asked.items():
                setting = f"sf.settings.{name} = {value!r}"
                block = f"`with sf.settings.override({name}={value!r}):`"
                warn_deprecated(_public_name(function), name, f"Use {setting}, or {block} for some calls.")
            with settings.override(**asked):
                return function(*args, **given)

        return call

    return decorate


def now_constant(**constants: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a public function take arguments that have become constants; it asks `former_values` for them."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> R:
            asked = {name: given.pop(name) for name in constants if name in given}
            for name in asked:
                warn_deprecated(_public_name(function), name, f"It will be {constants[name]!r}.")
            token = _FORMER.set(constants | asked)
            try:
                return function(*args, **given)
            finally:
                _FORMER.reset(token)

        return call

    return decorate


def former_values() -> dict[str, Any]:
    """Return what the running call was given for arguments that are constants now, else the constants."""
    return dict(_FORMER.get())


def _public_name(function: Callable[..., Any]) -> str:
    return ".".join([function.__module__.split(".")[-2], function.__name__])


def warn_deprecated(tool: str, name: str, instead: str) -> None:
    """Say that an argument of a public function will go, and what to write instead."""
    message = f"{tool}({name}=...) is deprecated and will go with the next release. {instead}"
    frame, level = sys._getframe(), 1  # the warning is of the line that called the package
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, FutureWarning, stacklevel=level)
