"""The command line: ``scflyformer COMMAND`` or ``python -m scflyformer COMMAND``."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scflyformer._cli._options import add_options, add_settings, gathered
from scflyformer._settings import settings
from scflyformer._version import __version__

COMMANDS = {
    "pretrain": "pretrain a model on unlabelled cells; also under torchrun",
    "embed": "add a model's embedding to the cells of an h5ad file",
    "tokenize": "add rank-value encoded tokens to the cells of an h5ad file",
    "annotate": "label the cells of an h5ad file, by a classifier that ships, a saved one, or labels in the file",
    "age_clock": "date the cells of an h5ad file, by a clock that ships, a saved one, or ages in the file",
}
_OTHERS = ("adata", "reference", "baselines", "mod", "copy")
"""Parameters without an option."""
_SETTINGS = ("device", "dtype", "synonyms")
_PACKAGE = str(Path(__file__).parents[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` name, by default those of the process.

    Return 0, or 1 after an error, whose message goes to stderr. Wrong usage exits with 2.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        "scflyformer", description="Transformer models of single fly cells.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"scflyformer {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        if name == next(iter(given), None):  # the others need not be imported
            _fill(command, name)
    values = vars(parser.parse_args(given))
    name, verbosity, show = values.pop("command"), values.pop("verbosity"), values.pop("traceback")
    wanted = {setting: values.pop(setting, None) for setting in _settings_of(name)}
    try:
        with settings.override(**{setting: value for setting, value in wanted.items() if value is not None}):
            _run(name, values, verbosity)
    except Exception as error:
        if show or not (isinstance(error, OSError) or _is_own(error)):
            raise
        message = error.args[0] if isinstance(error, KeyError) else error
        print(f"scflyformer {name}: error: {message}", file=sys.stderr)
        return 1
    return 0


def _fill(parser: argparse.ArgumentParser, name: str) -> None:
    function = _function(name)
    if name == "pretrain":
        add_options(parser, function)
    else:
        add_options(parser, function, leave_out=_OTHERS)
        parser.add_argument("input", type=Path, help="h5ad file to read")
        parser.add_argument("output", type=Path, help="h5ad file to write; may be the same")
    add_settings(parser, _settings_of(name))
    parser.add_argument("--verbosity", type=int, default=2, metavar="N", help="0: errors alone, to 3: hints [2]")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error was raised")


def _settings_of(name: str) -> tuple[str, ...]:
    """Return the settings that have an option; the tokens of a batch are one of training's own."""
    return _SETTINGS if name == "pretrain" else (*_SETTINGS, "batch_tokens")


def _function(name: str) -> Callable[..., Any]:
    from scflyformer import pp, tl

    return getattr(pp if name == "tokenize" else tl, name)


def _run(name: str, values: dict[str, Any], verbosity: int) -> None:
    import scanpy

    scanpy.settings.verbosity = verbosity
    if name == "pretrain":
        function = _function(name)
        function(**gathered(function, values))
        return
    from anndata import read_h5ad

    output, source = values.pop("output"), values.pop("input")
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}; give the h5ad file to read.")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent} to write {output.name} into; make it first.")
    adata = read_h5ad(source)
    _function(name)(adata, **values)
    part = output.with_name(f"{output.name}.part")  # never half a file under the name that was asked for
    adata.write_h5ad(part)
    part.replace(output)


def _is_own(error: Exception) -> bool:
    """Whether the package raised an error itself, and so says in it what to do."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_filename.startswith(_PACKAGE)
