"""Peak memory of `tl.pretrain` as the number of cells grows.

``python -m benchmarks.speed.pretrain_memory`` pretrains a few steps on files of repeated cells of fca_head, each in a
process of its own.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
from pathlib import Path

from ..lib.command import new_parser
from ..lib.processes import peak_mb, status_mb

STEPS = 20


def peaks(path: Path, n_cells: int, threads: int) -> tuple[float, float, float]:
    """Pretrain on a file; return peak resident memory, that of it which no file backs, and the latter before, MB."""
    import scanpy as sc
    import torch

    import scflyformer as sf
    import scflyformer.training._trainer

    sc.settings.verbosity = 0
    torch.set_num_threads(threads)
    before = highest = status_mb("RssAnon:")
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, status_mb("RssAnon:"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        options = sf.tl.PretrainOptions(
            hidden_size=64, n_layers=1, max_len=512, batch_tokens=4096, epochs=STEPS * 16 / n_cells
        )
        with tempfile.TemporaryDirectory() as scratch, sf.settings.override(device="cpu"):
            out, validation = Path(scratch, "model"), 256 / n_cells
            sf.tl.pretrain(path, out=out, gene_key="FBgn", validation=validation, options=options)
    finally:
        done.set()
        watcher.join()
    return peak_mb(), highest, before


def main() -> None:
    """Read arguments, write a file of each size, pretrain, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--cells", nargs="+", type=int, default=[5_000, 20_000, 80_000], help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    import anndata as ad
    import numpy as np
    import pandas as pd

    cells = ad.read_h5ad(args.data / "fly" / "fca_head.h5ad")
    print("| cells | file, MB | peak resident, MB | of it not file-backed, MB | before the run, MB |")
    print("| --- " * 5 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        for n in args.cells:
            file = Path(scratch, f"{n}.h5ad")
            chosen = np.random.default_rng(0).integers(0, cells.n_obs, n)
            obs = pd.DataFrame(index=np.arange(n).astype(str))
            ad.AnnData(cells.X[chosen], obs=obs, var=cells.var).write_h5ad(file)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(peaks, (file, n, args.threads))
            numbers = [f"{each:,.0f}" for each in found]
            print(f"| {n:,} | {file.stat().st_size / 1e6:,.0f} | {' | '.join(numbers)} |", flush=True)
            file.unlink()


if __name__ == "__main__":
    main()
