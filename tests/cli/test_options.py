"""Passing proves: a command takes what its function takes, passes on what it is given, says what its docstring says."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pytest

import scflyformer as sf
from scflyformer._cli._options import add_options, add_settings, describe, gathered

FUNCTIONS = [sf.tl.pretrain, sf.tl.embed, sf.pp.tokenize]


def parse(function: Any, *words: str, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, function, leave_out=leave_out)
    return vars(parser.parse_args(words))


def test_pretrain_takes_every_parameter_and_passes_on_what_is_given():
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser, sf.tl.pretrain)
    parameters = inspect.signature(sf.tl.pretrain).parameters
    options = {field.name: field.default for field in fields(sf.tl.PretrainOptions)}
    actions = {action.dest: action for action in parser._actions}
    assert actions.keys() == parameters.keys() - {"options"} | options.keys() | {"help"}
    defaults = {name: parameter.default for name, parameter in parameters.items()} | options
    for name, action in actions.items():
        if defaults.get(name, inspect.Parameter.empty) not in (None, inspect.Parameter.empty, False):
            assert f"[{defaults[name]}]" in action.help
    told = parse(sf.tl.pretrain, "a.h5ad", "b.h5ad", "--out", "model", "--dropout", "0.02")
    assert told == {"source": ["a.h5ad", "b.h5ad"], "out": "model", "dropout": 0.02}


def test_fields_of_a_record_are_joined():
    told = gathered(sf.tl.pretrain, parse(sf.tl.pretrain, "a.h5ad", "--out", "m", "--epochs", "2", "--n-layers", "1"))
    assert told == {"source": ["a.h5ad"], "out": "m", "options": sf.tl.PretrainOptions(epochs=2.0, n_layers=1)}
    assert gathered(sf.tl.pretrain, {"out": "m"}) == {"out": "m"}


def test_settings_are_options_that_are_off_unless_given():
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_settings(parser, ["device", "batch_tokens", "synonyms"])
    assert vars(parser.parse_args([])) == {"device": None, "batch_tokens": None, "synonyms": None}
    told = vars(parser.parse_args(["--device=cpu", "--batch-tokens=64", "--synonyms=flybase"]))
    assert told == {"device": "cpu", "batch_tokens": 64, "synonyms": "flybase"}
    with pytest.raises(argparse.ArgumentError, match="invalid choice: 'tpu'"):
        parser.parse_args(["--device=tpu"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_parameter_is_described(function):
    summary, helps = describe(function)
    assert list(helps) == list(inspect.signature(function).parameters)
    assert summary.startswith(inspect.getdoc(function).split()[0])
    for text in (summary, *helps.values()):
        assert text
        assert "`" not in text
        assert "  " not in text


def example(
    source: str | Sequence[str],
    *,
    out: str | Path,
    kind: Literal["one", "two"] = "one",
    number: int | None = None,
    workers: int | Literal["auto"] = "auto",
    rate: float = 0.5,
    quiet: bool = False,
    exclude: Mapping[str, Sequence[str]] | None = None,
    validation: float | Sequence[str] = 0.05,
) -> None:
    """Do 5 % of it, see :func:`~scflyformer.tl.embed`.

    And ``more``.

    Parameters
    ----------
    source, out
        Where from.

        A second paragraph.
    kind
        Which.
    number, workers, rate, quiet, exclude, validation
        The rest: 5 % here, too.

    Returns
    -------
    Nothing.
    """


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--kind two", "kind", "two"),
        ("--number 7", "number", 7),
        ("--workers 2", "workers", 2),
        ("--workers auto", "workers", "auto"),
        ("--rate 1e-3", "rate", 0.001),
        ("--quiet", "quiet", True),
        ("--no-quiet", "quiet", False),
        ("--exclude b=x,y --exclude b=z=1 --exclude c=", "exclude", {"b": ["x,y", "z=1"], "c": [""]}),
        ("--validation 0.2", "validation", 0.2),
        ("--validation s1 --validation 7", "validation", ["s1", "7"]),
        ("--validation 0", "validation", ["0"]),
    ],
)
def test_words_become_values(words, name, value):
    told = parse(example, "a", "--out", "m", *words.split())
    assert told[name] == value
    assert type(told[name]) is type(value)
    assert told.keys() == {"source", "out", name}


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("--kind three", "invalid choice: 'three'"),
        ("--number x", "argument --number: invalid int value: 'x'"),
        ("--workers x", "argument --workers: invalid number value: 'x'"),
        ("--exclude b", "argument --exclude: 'b' is not COLUMN=VALUE"),
    ],
)
def test_words_that_make_no_sense(words, match):
    with pytest.raises(argparse.ArgumentError, match=match):
        parse(example, "a", "--out", "m", *words.split())


def test_help():
    parser = argparse.ArgumentParser("example")
    add_options(parser, example)
    text = " ".join(parser.format_help().split())
    assert "Do 5 % of it, see scflyformer.tl.embed. And more." in text
    assert "SOURCE Where from. A second paragraph." in text
    assert "--rate N see --number [0.5]" in text
    assert "--number N The rest: 5 % here, too." in text
    assert "--exclude COLUMN=VALUE see --number Repeat the option" in text
