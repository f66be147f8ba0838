"""A clean virtual environment for each ruler, from PyPI and with pinned versions; needs nothing beyond Python."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ..lib.processes import THREAD_VARIABLES

HERE = Path(__file__).parent
STAMP = "made-from.txt"
PIP = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile")
NO_DEPENDENCIES = ("--no-deps", "--ignore-requires-python")
"""For scvi-tools, whose dependencies are pinned before it: so that it also runs on Python 3.11."""


@dataclass(frozen=True)
class Environment:
    """What pip is called with, in turn, and the distributions whose versions are told."""

    name: str
    steps: tuple[tuple[str, ...], ...]
    tells: tuple[str, ...]

    @property
    def pins(self) -> str:
        """All that decides what is installed."""
        files = [HERE / part for step in self.steps for part in step if part.endswith(".txt")]
        return "\n".join([repr(self.steps), *(file.read_text() for file in files)])


def _pinned(name: str, *tells: str) -> Environment:
    return Environment(name, (("--requirement", f"{name}.txt"),), tells)


ENVIRONMENTS = {
    "cz": _pinned("cz", "cz-benchmarks", "scib-metrics", "scikit-learn", "jax"),
    "scib": _pinned("scib", "scib-metrics", "scikit-learn", "jax"),
    "schema": _pinned("schema", "cellxgene-schema", "cellxgene-ontology-guide", "anndata"),
    # torch comes first and alone, so that a build for the processor only is taken where the index has one.
    "scvi": Environment(
        "scvi",
        (("torch==2.13.0",), ("--requirement", "scvi.txt"), (*NO_DEPENDENCIES, "scvi-tools==1.5.1")),
        ("scvi-tools", "harmonypy", "torch"),
    ),
}


def default_folder() -> Path:
    """Return the folder of environments in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scflyformer-rulers"


def python_of(name: str, folder: Path, python: str = sys.executable) -> Path:
    """Return the Python of an environment, which is made first where it is not there as its pins say."""
    environment, home = ENVIRONMENTS[name], folder.expanduser().resolve() / name
    found, stamp = home / "bin" / "python", home / STAMP
    if stamp.exists() and stamp.read_text() == environment.pins:
        return found
    print(f"[installing what {name} needs into {home}]", file=sys.stderr, flush=True)
    _call([python, "-m", "venv", "--clear", str(home)])
    for step in environment.steps:
        _call([str(found), *PIP, *step])
    stamp.write_text(environment.pins)
    return found


def digest(name: str) -> str:
    """Return what changes with the pins."""
    return sha256(ENVIRONMENTS[name].pins.encode()).hexdigest()[:8]


def versions(name: str, python: Path) -> str:
    """Return the versions of an environment, in words."""
    code = (
        "import sys; from importlib.metadata import version as v; print(sys.version.split()[0], *map(v, sys.argv[1:]))"
    )
    tells = ENVIRONMENTS[name].tells
    said = subprocess.run([str(python), "-I", "-c", code, *tells], capture_output=True, text=True, check=True)
    own, *found = said.stdout.split()
    return ", ".join([*(f"{what} {number}" for what, number in zip(tells, found, strict=True)), f"Python {own}"])


def run(python: Path, script: str, *arguments: str | Path) -> None:
    """Run a script of this folder on its own: nothing of this repository can be imported there."""
    _call([str(python), "-I", str(HERE / script), *map(str, arguments)])


def variables() -> dict[str, str]:
    """Return the variables of a ruler's process: one thread, no graphics card."""
    return os.environ | dict.fromkeys(THREAD_VARIABLES, "1") | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables(), cwd=HERE)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
