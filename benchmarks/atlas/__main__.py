"""Time and memory of tokenizing and embedding from disk, against the number of cells.

``python -m benchmarks.atlas AFCA.h5ad --sizes 5000 20000 100000 --steps tokenize embed`` opens a file of each size with
``anndata.read_h5ad(..., backed="r")`` in a process of its own, runs `pp.tokenize` or `tl.embed` on it, and prints
seconds, the process's peak memory, of which the result, and how long merely reading the matrix takes. A line through
the seconds then says what the whole atlas would take; ``--whole`` tokenizes all of the file instead.

The file is made by ``python -m benchmarks.atlas.make``, and so are the smaller ones (of another file, its first cells
are taken).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem

from ..lib.command import new_parser
from ..lib.processes import environment, peak_mb
from .make import make_atlas
from .report import report, table

KEYS = {"tokenize": "tokens", "embed": "X_scflyformer"}
WARM_UP = 64
"""Cells run before, so that imports and compiled parts are not what is timed."""
READ = 1 << 22
"""Values of the matrix read at a time."""


def smaller(file: Path, n_cells: int, *, data: Path, work: Path) -> Path:
    """Return a file like ``file`` with fewer cells, made where it is not there yet."""
    with h5py.File(file) as whole:
        n_all = len(whole["obs"][whole["obs"].attrs["_index"]])
    made = arguments(file)
    if n_cells >= n_all:
        if n_cells > n_all:
            raise SystemExit(f"{file} has {n_all:,} cells; {n_cells:,} were asked for by --sizes.")
        return file
    seed = f"_seed{made['seed']}" if made else ""
    out = work / f"{file.stem}_{n_cells}{seed}.h5ad"
    if out.exists() and out.stat().st_mtime >= file.stat().st_mtime:
        return out
    if made is None:
        out.parent.mkdir(parents=True, exist_ok=True)
        ad.read_h5ad(file, backed="r")[:n_cells].to_memory().write_h5ad(out)
    else:
        make_atlas(
            out, data=data, n_cells=n_cells, n_genes=int(made["n_genes"]), per_cell=float(made["per_cell"]),
            seed=int(made["seed"]), compression=None if made["compression"] == "none" else made["compression"],
            published=bool(made.get("published", False)),
        )  # fmt: skip
        if (source := arguments(out)["source"]) != made["source"]:
            out.unlink()
            raise SystemExit(f"{file} was made of {made['source']}, smaller ones now of {source}; check --data.")
    return out


def arguments(file: Path) -> dict[str, Any] | None:
    """Return what `make_atlas` wrote about a file, `None` where it did not make it."""
    with h5py.File(file) as opened:
        return read_elem(opened["uns/atlas"]) if "uns/atlas" in opened else None


def forget(file: Path) -> None:
    """Have the system drop its copy of the file in memory, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def plain_read(file: Path) -> float:
    """Return the seconds it takes to read the matrix and do nothing with it."""
    begin = time.perf_counter()
    with h5py.File(file) as opened:
        parts = opened["X"]
        for values in [parts] if isinstance(parts, h5py.Dataset) else parts.values():
            step = max(READ // int(np.prod(values.shape[1:], dtype=int)), 1)
            for start in range(0, len(values), step):
                values[start : start + step]
    return time.perf_counter() - begin


def one(args: argparse.Namespace) -> dict[str, Any]:
    """Run one step on one file, in this process, and return its figures."""
    import scanpy as sc

    import scflyformer as sf

    sc.settings.verbosity = 0
    step, options = args.one, {"model": args.model, "gene_key": args.gene_key}
    work = sf.pp.tokenize if step == "tokenize" else sf.tl.embed
    if step == "embed":
        import torch  # `pp.tokenize` does without

        torch.set_num_threads(args.threads)
        sf.settings.dtype, sf.settings.device = args.dtype, args.device
    if args.cold:
        forget(args.file)
    read = plain_read(args.file)
    adata = ad.read_h5ad(args.file, backed="r")
    work(adata[:WARM_UP].to_memory(), **options)
    if args.cold:
        forget(args.file)
    before = peak_mb()
    begin = time.perf_counter()
    work(adata, **options)
    seconds = time.perf_counter() - begin
    return {
        "step": step,
        "cells": adata.n_obs,
        "seconds": seconds,
        "cells/s": adata.n_obs / seconds,
        "peak memory (GB)": peak_mb() / 1e3,
        "before (GB)": before / 1e3,
        "result (GB)": _size(adata.obsm[KEYS[step]]) / 1e9,
        "plain read (s)": read,
    }


def _size(values: Any) -> int:
    """Return the bytes of an array or a CSR matrix."""
    if hasattr(values, "indptr"):
        return values.data.nbytes + values.indices.nbytes + values.indptr.nbytes
    return values.nbytes


def in_own_process(step: str, file: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return `one`'s figures, from a process that has done nothing else."""
    command = [sys.executable, "-m", "benchmarks.atlas", str(file), "--one", step, "--model", args.model]
    command += ["--dtype", args.dtype, "--device", args.device, "--threads", str(args.threads), *["--cold"] * args.cold]
    command += ["--gene-key", args.gene_key] if args.gene_key else []
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=False, env=environment(args.threads),
        preexec_fn=_pin(args.threads),
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{step} of {file.name} ended with exit status {done.returncode}; its last words are above.")
    return json.loads(done.stdout.splitlines()[-1])


def _pin(n_threads: int) -> Any:
    """Return what holds a process to so many cores, which the tokenizer's threads go by; `None` where it cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[:n_threads]
    return lambda: os.sched_setaffinity(0, cores)


def main() -> None:
    """Read arguments and run."""
    parser = new_parser(__doc__)
    parser.add_argument("file", type=Path, help="the h5ad file")
    parser.add_argument("--sizes", nargs="*", type=int, default=[5_000, 20_000, 100_000], metavar="CELLS")
    parser.add_argument("--steps", nargs="*", choices=list(KEYS), default=list(KEYS))
    parser.add_argument("--whole", action="store_true", help="tokenize the whole file, too")
    parser.add_argument("--model", default="fly", help="name or folder (%(default)s)")
    parser.add_argument("--gene-key", help="column of var with gene names")
    parser.add_argument("--dtype", default="auto", help="of tl.embed (%(default)s)")
    parser.add_argument("--device", default="auto", help="of tl.embed (%(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="have the system forget the file before each reading")
    parser.add_argument("--work", type=Path, help="folder of the smaller files (default: that of the file)")
    parser.add_argument("--out", type=Path, help="folder to write atlas_scale.md and atlas_scale.tsv to")
    parser.add_argument("--one", choices=list(KEYS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args)))
        return
    work = args.work or args.file.parent
    rows = []
    for n_cells in sorted(args.sizes):
        file = smaller(args.file, n_cells, data=args.data, work=work)
        for step in args.steps:
            rows.append(in_own_process(step, file, args))
            print(table(rows[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    whole = in_own_process("tokenize", args.file, args) if args.whole else None
    rows += [whole] if whole else []
    if not rows:
        raise SystemExit("Nothing to run: give --sizes and --steps, or --whole.")
    text = report(rows, whole, args)
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "atlas_scale.md").write_text(text)
        pd.DataFrame(rows).to_csv(args.out / "atlas_scale.tsv", sep="\t", index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
