"""Options of a command, read from the signature and the docstring of the function that it calls."""

from __future__ import annotations

import argparse
import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from scflyformer._settings import Settings

_DATA = {"AnnData": str, "MuData": str, "OneSource": str}
"""What types that are known to type checkers alone are on a command line."""
_REPEAT = " Repeat the option for further values."


def add_options(
    parser: argparse.ArgumentParser, function: Callable[..., Any], *, leave_out: Sequence[str] = ()
) -> None:
    """Add a positional argument or an option for each parameter of ``function``, or for each field of a record.

    Options that are not given are no attributes of what is parsed: the function has its own defaults.
    """
    summary, helps = describe(function)
    parser.description = summary
    hints = get_type_hints(function, localns=_DATA)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in leave_out:
            continue
        if (record := _record(hints[name])) is not None:
            of_field, types = describe(record)[1], get_type_hints(record)
            for field in fields(record):
                _add_option(parser, field.name, types[field.name], of_field[field.name], field.default, given_only=True)
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            options = _kind(hints[name]) | {"metavar": name.upper(), "help": _escaped(helps[name])}
            parser.add_argument(name, nargs="+", **options)
        else:
            _add_option(parser, name, hints[name], helps[name], parameter.default, given_only=True)


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add an option for each of the settings named, which is `None` where it is not given."""
    for name in names:
        setting = getattr(Settings, name)
        hint = get_type_hints(setting.fget)["return"]
        _add_option(parser, name, hint, _without_markup((inspect.getdoc(setting) or "").partition("\n\n")[0]), None)


def gathered(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``function``, with the fields of a record joined in one."""
    for name, hint in get_type_hints(function, localns=_DATA).items():
        if (record := _record(hint)) is not None:
            given = {field.name: values.pop(field.name) for field in fields(record) if field.name in values}
            values |= {name: record(**given)} if given else {}
    return values


def _record(hint: Any) -> Any:
    """Return the dataclass that a type is, or may be, else `None`."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)


def _add_option(
    parser: argparse.ArgumentParser, name: str, hint: Any, help_text: str, default: Any, *, given_only: bool = False
) -> None:
    options = _kind(hint)
    options["help"] = _escaped(help_text) + options.get("help", "")
    if default is inspect.Parameter.empty:
        options["required"] = True
    else:
        options["default"] = argparse.SUPPRESS if given_only else default
        if default is not None and not isinstance(default, bool):
            options["help"] += f" [{default}]"
    parser.add_argument(f"--{name.replace('_', '-')}", **options)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def describe(documented: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return what a numpy-style docstring says in front, and of each parameter."""
    front, _, rest = inspect.cleandoc(documented.__doc__ or "").partition("\nParameters\n----------\n")
    parameters = re.split(r"\n[A-Z]\w+\n-+\n", rest)[0]
    helps: dict[str, str] = {}
    for names, text in re.findall(r"^(\w[\w, ]*)\n((?:(?: +.*)?(?:\n|\Z))+)", parameters, flags=re.M):
        first, *others = names.split(", ")
        helps[first] = _without_markup(text)
        helps |= dict.fromkeys(others, f"see --{first.replace('_', '-')}")
    return _without_markup(front), helps


def _without_markup(text: str) -> str:
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
        before = getattr(namespace, self.dest, None) or {}
        setattr(namespace, self.dest, before | {key: [*before.get(key, []), value]})


class _ShareOrNames(argparse.Action):
    """``--validation 0.1``: a number; ``--validation FCA4 --validation FCA13``: a list of names."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        before = getattr(namespace, self.dest, None)
        try:
            share = float(values)
        except ValueError:
            share = 1.0
        value = share if 0 < share < 1 else [*(before if isinstance(before, list) else []), values]
        setattr(namespace, self.dest, value)
