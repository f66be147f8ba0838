"""Options of a command, read from the signature and the docstring of the function that it calls."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_DATA = {"AnnData": str, "MuData": str, "OneSource": str}
"""What types that are known to type checkers alone are on a command line."""
_REPEAT = " Repeat the option for further values."


def add_options(
    parser: argparse.ArgumentParser, function: Callable[..., Any], *, leave_out: Sequence[str] = ()
) -> None:
    """Add a positional argument or an option for each parameter of ``function``."""
    summary, helps = describe(function)
    parser.description = summary
    hints = get_type_hints(function, localns=_DATA)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out:
            continue
        options = _kind(hints[name])
        options["help"] = helps[name].replace("%", "%%") + options.get("help", "")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            parser.add_argument(name, nargs="+", **(options | {"metavar": name.upper()}))
            continue
        if parameter.default is parameter.empty:
            options["required"] = True
        else:
            options["default"] = parameter.default
            if parameter.default is not None and not isinstance(parameter.default, bool):
                options["help"] += f" [{parameter.default}]"
        parser.add_argument(f"--{name.replace('_', '-')}", **options)


def describe(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return what a numpy-style docstring says in front, and of each parameter."""
    front, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\nParameters\n----------\n")
    parameters = re.split(r"\n[A-Z]\w+\n-+\n", rest)[0]
    helps: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?:(?: +.*)?(?:\n|\Z))+)", parameters, flags=re.M):
        first, *others = names.split(", ")
        helps[first] = _plain(text)
        helps |= dict.fromkeys(others, f"see --{first.replace('_', '-')}")
    return _plain(front), helps


def _plain(text: str) -> str:
    """Return text without markup."""
    text = re.sub(r":\w+:`[~/]?([^`<]+)`", r"\1", text)
    return " ".join(text.replace("`", "").split())


def _kind(hint: Any) -> dict[str, Any]:
    """Return how argparse reads a type."""
    kinds = [hint] if get_origin(hint) in (Literal, None) else list(get_args(hint))
    kinds = [kind for kind in kinds if kind is not NoneType and get_origin(kind) is not os.PathLike]
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    origins = {get_origin(kind) or kind for kind in kinds}
    if origins == {bool}:
        return {"action": argparse.BooleanOptionalAction}
    if Mapping in origins:
        return {"action": _Mapping, "metavar": "COLUMN=VALUE", "help": _REPEAT}
    if origins == {float, Sequence}:
        return {"action": _ShareOrNames, "metavar": "SHARE|NAME", "help": _REPEAT}
    if origins == {Literal}:
        return {"choices": words}
    if words:
        return {"type": _number_or(words), "metavar": "|".join(["N", *words])}
    if origins in ({int}, {float}):
        return {"type": origins.pop(), "metavar": "N"}
    return {"type": str, "metavar": "NAME"}


def _number_or(words: list[str]) -> Callable[[str], int | str]:
    def number(text: str) -> int | str:
        return text if text in words else int(text)

    return number


class _Mapping(argparse.Action):
    """``--exclude batch=FCA4 --exclude batch=FCA13``: a dictionary of lists."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        key, sign, value = values.partition("=")
        if not (key and sign):
            raise argparse.ArgumentError(self, f"{values!r} is not COLUMN=VALUE")
        before = getattr(namespace, self.dest) or {}
        setattr(namespace, self.dest, before | {key: [*before.get(key, []), value]})


class _ShareOrNames(argparse.Action):
    """``--validation 0.1``: a number; ``--validation FCA4 --validation FCA13``: a list of names."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        before = getattr(namespace, self.dest)
        try:
            share = float(values)
        except ValueError:
            share = 1.0
        told = share if 0 < share < 1 else [*(before if isinstance(before, list) else []), values]
        setattr(namespace, self.dest, told)
