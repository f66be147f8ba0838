"""scVI as a representation of whole transcriptomes, computed in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ..lib.processes import output_of
from .representations import chosen, log_expression

if TYPE_CHECKING:
    from collections.abc import Callable

    from .representations import Transform

SCVI = "scVI"
_ASK = "import importlib.util, sys; sys.exit(importlib.util.find_spec('scvi') is None)"


def python_with_scvi(given: str | None) -> str | None:
    """Return the Python given, or this one, if it can import scvi-tools; else say so and return `None`."""
    python = given or sys.executable
    if shutil.which(python) and subprocess.run([python, "-c", _ASK], check=False).returncode == 0:
        return python
    print(f"{python} has no scvi-tools: the column {SCVI} is left out; see --scvi-python.", file=sys.stderr)
    return None


def called(python: str, *arguments: str | Path) -> None:
    """Call the script that fits and encodes."""
    output_of([python, "-m", "benchmarks.whole_transcriptome.scvi_script", *map(str, arguments)])


def latent_means(python: str) -> Callable[[sparse.csr_matrix], Transform]:
    """Return what fits scVI to training counts of scanpy's 2,000 highly variable genes, and then encodes any counts."""

    def fit(train: sparse.csr_matrix) -> Transform:
        genes = chosen(log_expression(train), "seurat")
        folder = Path(tempfile.mkdtemp())
        counts, model, out = (folder / name for name in ("counts.npz", "model", "latent.npy"))
        sparse.save_npz(counts, train[:, genes])
        called(python, "fit", counts, model)

        def encode(asked: sparse.csr_matrix) -> np.ndarray:
            sparse.save_npz(counts, asked[:, genes])
            called(python, "encode", counts, model, out)
            return np.load(out)

        weakref.finalize(encode, shutil.rmtree, folder, ignore_errors=True)
        return encode

    return fit
