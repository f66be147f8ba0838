"""What every command has: arguments, its own name, and tables; needs nothing beyond Python."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def _name() -> str:
    spec = sys.modules["__main__"].__spec__
    return f"python {sys.argv[0] if spec is None else '-m ' + spec.name.removesuffix('.__main__')}"


def new_parser(doc: str) -> argparse.ArgumentParser:
    """Return a parser that is described by the first line of ``doc``, with ``--data``, the folder of real data."""
    parser = argparse.ArgumentParser(prog=_name(), description=doc.splitlines()[0])
    default = Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default, help="folder of real data (default: %(default)s)")
    return parser


def command() -> str:
    """Return the command that runs, as it is typed."""
    return f"{_name()} {shlex.join(sys.argv[1:])}"


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]], *, rules: Sequence[str] = ()) -> str:
    """Return a table in markdown; ``rules`` stand under the head, by default dashes."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rules or ["---"] * len(head), *lines))
