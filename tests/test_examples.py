"""Every example in a docstring of a public name, and on the page of the command line, runs and prints what it says."""

from __future__ import annotations

import doctest
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import scflyformer as sf

DOCS = Path(__file__).parents[1] / "docs" / "api"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def public(place: ModuleType, name: str) -> Iterator[tuple[str, Any]]:
    """Walk from a package to its functions and classes and their methods, so that a new name comes by itself."""
    for short in dir(place):
        if short.startswith("_"):
            continue
        found = getattr(place, short)
        if isinstance(found, ModuleType):
            yield from public(found, f"{name}.{short}")
            continue
        if not inspect.isfunction(found) and not inspect.isclass(found):
            found = type(found)  # settings
        yield f"{name}.{short}", found
        for method, function in vars(found).items() if inspect.isclass(found) else ():
            if inspect.isfunction(function) and not method.startswith("_"):
                yield f"{name}.{short}.{method}", function


PUBLIC = dict(public(sf, "sf"))
each = pytest.mark.parametrize("name", PUBLIC)


@pytest.fixture(autouse=True)
def _as_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty folder, and leave no setting changed."""
    from scanpy import settings

    verbosity = settings.verbosity
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sf.settings, "_values", {})
    yield
    settings.verbosity = verbosity


def examples(name: str) -> doctest.DocTest:
    """Read the examples of the name's own docstring; they share a namespace that is empty at first."""
    return doctest.DocTestParser().get_doctest(PUBLIC[name].__doc__ or "", {}, name, None, None)


def blocks(page: str, language: str) -> str:
    """Return what stands in a page's blocks of a language."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S))


def test_the_walk_finds_what_is_public() -> None:
    wanted = "tl.embed models.list models.Model models.Model.network models.RegistryError settings settings.override"
    assert {f"sf.{name}" for name in wanted.split()} <= set(PUBLIC)


@each
def test_there_is_an_example_that_stands_by_itself(name: str) -> None:
    lines = examples(name).examples
    assert lines, f"{name} has no example in its docstring"
    assert any("scflyformer as sf" in line.source for line in lines), "an example imports what it uses"
    assert not any(doctest.SKIP in line.options for line in lines), "an example that is skipped may be wrong"


@pytest.mark.slow
@each
def test_examples_run(name: str) -> None:
    report: list[str] = []
    done = doctest.DocTestRunner(optionflags=FLAGS, verbose=False).run(examples(name), out=report.append)
    assert not done.failed, "".join(report)


@pytest.mark.slow
def test_commands_run() -> None:
    from scflyformer._cli import COMMANDS, main

    exec(blocks("command_line.md", "python"), {})
    seen = set()
    for line in blocks("command_line.md", "bash").replace("\\\n", " ").splitlines():
        program, *words = shlex.split(line)
        assert program == "scflyformer"
        assert main([*words, "--verbosity", "0"]) == 0, line
        seen.add(words[0])
    assert seen == set(COMMANDS)
