"""Labelled cells to learn from and cells to label, on their way to a process and back; needs no more than anndata.

The scripts ``benchmarks/annotation/*_labels.py`` all run as ``python SCRIPT cells.h5ad out.npz``, each in an
environment that has what it needs. ``cells.h5ad`` holds counts; `obs`: ``label`` (empty in cells to label),
``library``, ``train`` (the cells to learn from); `uns`: ``by_cell``; perhaps what `tl.embed` has written already (its
`obsm`, and ``embedded``, its parameters as JSON). ``out.npz`` holds ``probability`` (cells × classes), ``classes``,
perhaps ``novelty`` (higher where a cell is stranger), and ``said``: versions and costs as JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd

from .processes import peak_mb, start_peak

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData
    from scipy import sparse


class Cells(NamedTuple):
    """What a method is given: labels are in ``reference.obs["label"]`` alone, libraries in both."""

    reference: AnnData
    query: AnnData
    by_cell: bool


def write_cells(
    path: Path, counts: sparse.csr_matrix, genes: np.ndarray, labels: np.ndarray, libraries: np.ndarray,
    reference: np.ndarray, query: np.ndarray, *, by_cell: bool, embedding: np.ndarray | None = None, embedded: str = "",
) -> None:  # fmt: skip
    """Write the cells at the positions ``reference`` and ``query``, and no others.

    ``embedding`` has a row a cell of the file, and ``embedded`` says how `tl.embed` made it.
    """
    used = np.concatenate([reference, query])
    train = np.arange(len(used)) < len(reference)
    obs = pd.DataFrame({"label": np.where(train, labels[used], ""), "library": libraries[used], "train": train})
    obs.index = [f"cell{number}" for number in range(len(obs))]
    cells = ad.AnnData(counts[used].astype(np.float32), obs=obs, var=pd.DataFrame({"gene": genes}, index=genes))
    cells.uns = {"by_cell": by_cell, "embedded": embedded}
    if embedding is not None:
        cells.obsm["X_scflyformer"] = embedding[used]
    cells.write_h5ad(path)


def read_cells(path: str | Path) -> Cells:
    """Return what `write_cells` wrote: counts in `X`, gene ids as `var_names` and in ``var["gene"]``."""
    cells = ad.read_h5ad(path)
    for column in ("label", "library"):
        cells.obs[column] = cells.obs[column].astype(object)
    by_cell, embedded = bool(cells.uns["by_cell"]), cells.uns["embedded"]
    cells.uns = {"X_scflyformer": {"params": json.loads(embedded)}} if embedded else {}
    train = cells.obs.pop("train").to_numpy()
    reference, query = cells[train].copy(), cells[~train].copy()
    del query.obs["label"]
    return Cells(reference, query, by_cell)


def answer(
    make: Callable[[Cells, argparse.Namespace], dict[str, Any]],
    description: str,
    packages: Mapping[str, str],
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Run a script: read arguments and cells, time ``make``, write its arrays, print versions and costs as JSON.

    ``make`` returns ``probability``, ``classes``, perhaps ``novelty``, and numbers to print under other names.
    ``packages``: distribution whose version is told → module to import before the clock starts.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("cells", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    if add_arguments:
        add_arguments(parser)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = read_cells(args.cells)
    for module in packages.values():
        import_module(module)
    before, begin, begin_cpu = start_peak(), time.perf_counter(), time.process_time()
    result = make(cells, args)
    seconds, cpu_seconds, peak = time.perf_counter() - begin, time.process_time() - begin_cpu, peak_mb()
    arrays = {name: result.pop(name) for name in ("probability", "classes", "novelty") if name in result}
    versions = {name: _version(name, module) for name, module in packages.items()}
    said = {
        "versions": versions | {"python": platform.python_version()},
        "seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2),
        "memory_mb": round(max(peak - before, 0)), "peak_mb": round(peak), **result,
    }  # fmt: skip
    arrays["classes"] = np.asarray(arrays["classes"]).astype(str)
    np.savez(args.out, **arrays, said=json.dumps(said))
    print(json.dumps(said))


def _version(name: str, module: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout
        return sys.modules[module.split(".")[0]].__version__
