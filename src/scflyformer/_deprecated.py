"""Arguments that are accepted for one release more: the call warns and does what it did."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from scflyformer._settings import settings

P = ParamSpec("P")
R = TypeVar("R")


def moved_to_settings(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a public function take arguments that have become settings of the same names, which are set for the call."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        tool = ".".join([function.__module__.split(".")[-2], function.__name__])

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> R:
            asked = {name: given.pop(name) for name in names if name in given}
            asked = {name: value for name, value in asked.items() if value not in (None, "auto")}
            for name, value in asked.items():
                setting = f"sf.settings.{name} = {value!r}"
                block = f"`with sf.settings.override({name}={value!r}):`"
                warn_deprecated(tool, name, f"Use {setting}, or {block} for some calls.")
            with settings.override(**asked):
                return function(*args, **given)

        return call

    return decorate


def warn_deprecated(tool: str, name: str, instead: str, *, stacklevel: int = 3) -> None:
    """Say that an argument of a public function will go, and what to write instead."""
    message = f"{tool}({name}=...) is deprecated and will go with the next release. {instead}"
    warnings.warn(message, FutureWarning, stacklevel=stacklevel)
