"""Passing proves: imports run downwards between the packages, and none goes round in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import scflyformer

SOURCE = Path(scflyformer.__file__).parent
FLOORS = (
    {"genes", "ontology"},
    {"tokens"},
    {"network", "stats"},
    {"models"},
    {"data"},
    {"training", "clock"},
    {"annotation"},
    {"perturbation"},
    {"pp", "get", "datasets"},
    {"tl", "pl"},
    {"_cli"},
)
"""Packages, the lowest first: a module imports from its own package, from lower ones, and from the root's modules."""
FLOOR = {package: number for number, packages in enumerate(FLOORS) for package in packages}
DOORS = {"models/__init__.py": {"data"}}
"""Lists of public names that name one of a higher package: `models.contamination` reads cells. Nothing runs there."""
WITHOUT_ANNDATA = {"genes", "ontology", "tokens", "network", "stats"}


def modules() -> list[Path]:
    """Return the modules that stand in a package of this one."""
    return sorted(path for path in SOURCE.rglob("*.py") if len(path.relative_to(SOURCE).parts) > 1)


def imported(path: Path) -> set[str]:
    """Return what a module imports, also inside functions and for types, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = list(("scflyformer", *path.relative_to(SOURCE).parent.parts)) if node.level else []
            parts = parts[: len(parts) - max(node.level - 1, 0)]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def test_every_package_has_its_floor() -> None:
    assert {path.relative_to(SOURCE).parts[0] for path in modules()} == set(FLOOR)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downwards(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0]
    used = {name.split(".")[1] for name in imported(path) if name.startswith("scflyformer.")} & set(FLOOR)
    used -= DOORS.get(path.relative_to(SOURCE).as_posix(), set())
    assert not {other for other in used if other != package and FLOOR[other] >= FLOOR[package]}


@pytest.mark.parametrize("path", [path for path in modules() if path.relative_to(SOURCE).parts[0] in WITHOUT_ANNDATA])
def test_kernels_know_no_anndata(path: Path) -> None:
    known = {name.split(".")[0] for name in imported(path)}
    assert not known & {"anndata", "mudata", "dask", "scanpy"}
