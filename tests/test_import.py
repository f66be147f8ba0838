"""Importing the package is cheap, and its names resolve when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import scflyformer as sf

HEAVY = ("torch", "transformers", "scanpy", "anndata", "matplotlib", "pandas", "sklearn", "mudata", "pooch", "h5py")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement", ["import scflyformer", "import scflyformer; dir(scflyformer); scflyformer.settings"]
)
def test_import_loads_nothing_heavy(statement: str) -> None:
    assert run(f"{statement}\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])") == ""


@pytest.mark.parametrize("name", ["pp", "tl", "pl", "get", "models", "datasets"])
def test_subpackages_load_neither_torch_nor_scanpy(name: str) -> None:
    report = "import sys; print('torch' in sys.modules, 'scanpy' in sys.modules)"
    code = f"import scflyformer; dir(scflyformer.{name})\n{report}"
    assert run(code) == "False False"


def test_every_function_imports_without_torch_and_scanpy() -> None:
    code = """
import sys, scflyformer as sf
for package in (sf.pp, sf.tl, sf.pl, sf.get, sf.models, sf.datasets):
    for name in package.__all__:
        getattr(package, name)
print('torch' in sys.modules, 'scanpy' in sys.modules, 'matplotlib' in sys.modules)
"""
    assert run(code) == "False False False"


def test_dir_lists_public_names() -> None:
    assert {"pp", "tl", "pl", "get", "models", "datasets", "settings", "__version__"} <= set(dir(sf))
    assert {"embed", "annotate", "age_clock", "perturb", "pretrain"} <= set(dir(sf.tl))
    assert "attach" not in dir(sf.tl)


def test_unknown_name_lists_known_ones() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'umap'; it has: PretrainOptions, adapt, age_accel"):
        _ = sf.tl.umap


def test_importing_makes_no_folder(tmp_path) -> None:
    code = f"import os; os.environ['SCFLYFORMER_CACHE'] = {str(tmp_path / 'cache')!r}\nimport scflyformer.models"
    run(code)
    assert list(tmp_path.iterdir()) == []
