"""Time and memory of ``scflyformer pretrain --recipe afca`` on files of the atlas's shape, against the number of cells.

``python -m benchmarks.atlas.pretrain --sizes 12500 50000`` makes a file of each size (``….atlas.make --published``),
runs the recipe on it in a process of its own, with one pass for the profile code and ``--steps`` steps, and prints
seconds and the most memory that the process held: all, and that of it which no file backs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ..lib.command import command, markdown_table, new_parser
from ..lib.processes import environment, peak_mb, status_mb
from .make import make_atlas

EVERY = 0.05
"""Seconds between two looks at the memory held."""


def one(file: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run the recipe on a file, in this process, and return its figures."""
    import torch

    import scflyformer as sf
    from scflyformer._cli import main
    from scflyformer.training._recipes import RECIPES

    torch.set_num_threads(args.threads)
    n_cells = sf.datasets.afca(file, backed="r").n_obs
    recipe = RECIPES["afca"].options
    epochs = args.steps * recipe.batch_tokens / recipe.bert_len / n_cells
    before = highest = status_mb("RssAnon:") or 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(EVERY):
            highest = max(highest, status_mb("RssAnon:") or 0.0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(dir=args.work) as scratch:
            out = Path(scratch, "model")
            words = ["pretrain", "--recipe", "afca", str(file), "--out", str(out), "--device", args.device]
            words += ["--code-epochs", "1", "--epochs", f"{epochs:.6g}", "--verbosity", "1"]
            if main(words):
                raise SystemExit("The recipe ended with an error; it is above.")
            metrics = sf.models.load(out).metrics
    finally:
        done.set()
        watcher.join()
    return {
        "cells": n_cells,
        "file (GB)": file.stat().st_size / 1e9,
        "genes": metrics["vocabulary"]["n_genes"],
        "steps": metrics["training"]["n_steps"],
        "seconds": time.perf_counter() - begin,
        "peak memory (GB)": peak_mb() / 1e3,
        "not file-backed (GB)": highest / 1e3,
        "before (GB)": before / 1e3,
    }


def main() -> None:
    """Read arguments, make the files, run the recipe on each, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=[12_500, 50_000], metavar="CELLS")
    parser.add_argument("--steps", type=int, default=3, help="steps of 24,576 tokens (%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="folder of files (%(default)s)")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args)))
        return
    rows = []
    for n_cells in args.sizes:
        with tempfile.TemporaryDirectory(dir=args.work) as folder:
            file = Path(folder, "adata_headBody_S_v1.0.h5ad")
            make_atlas(file, data=args.data, n_cells=n_cells, published=True)
            words = [sys.executable, "-m", "benchmarks.atlas.pretrain", "--one", str(file), "--steps", str(args.steps)]
            words += ["--threads", str(args.threads), "--device", args.device, "--work", str(args.work)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment(args.threads))
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], file=sys.stderr, flush=True)
    shown = {"file (GB)": ".2f", "peak memory (GB)": ".2f", "not file-backed (GB)": ".2f", "before (GB)": ".2f"}
    lines = [[format(value, shown.get(head, ",.0f")) for head, value in row.items()] for row in rows]
    print(f"`{command()}`\n")
    print(markdown_table(list(rows[0]), lines, rules=["---:"] * len(rows[0])))


if __name__ == "__main__":
    main()
