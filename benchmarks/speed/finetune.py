"""How long `tl.annotate` takes to fine-tune on real cells, and where the time goes.

``python -m benchmarks.speed.finetune --threads 2 --dtype bfloat16`` takes 20,000 cells of fca_head as the reference and
2,000 cells of its held-out libraries to label, and prints minutes by the clock, minutes of processor time, peak memory
and the scores on the held-out libraries. Run it on an idle machine.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np

from ..lib.command import new_parser
from ..lib.splits import held_out


def main() -> None:
    """Read arguments, run once, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="fly")
    parser.add_argument("--method", default="finetune", choices=["finetune", "probe"])
    parser.add_argument("--cells", type=int, default=20_000, help="reference cells (default: %(default)s)")
    parser.add_argument("--query", type=int, default=2_000, help="cells to label (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="number type of the network (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="(default: %(default)s)")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)

    import scanpy as sc
    import torch
    from sklearn.metrics import accuracy_score, f1_score

    import scflyformer as sf

    torch.set_num_threads(args.threads)
    cells = sc.read_h5ad(Path(args.data) / "fly" / "fca_head.h5ad")
    test = held_out(cells.obs)
    drawn = np.random.default_rng(0).permutation(len(test))
    reference = cells[np.sort(drawn[~test[drawn]][: args.cells])].copy()
    query = cells[np.sort(drawn[test[drawn]][: args.query])].copy()
    sc.settings.verbosity = 2
    begin, cpu = time.perf_counter(), time.process_time()
    with sf.settings.override(dtype=args.dtype):
        sf.tl.annotate(
            query, reference=reference, label_key="cell_type", sample_key="batch", model=args.model, gene_key="FBgn",
            baselines="none", method=args.method,
        )  # fmt: skip
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    truth, best = query.obs["cell_type"].astype(str), query.obs["annotation_best"].astype(str)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("reference\tquery\tthreads\tdtype\tminutes\tcpu_minutes\tpeak_mb\taccuracy\tmacro_f1")
    counts = f"{len(reference)}\t{len(query)}\t{args.threads}\t{args.dtype}"
    scores = f"{accuracy_score(truth, best):.3f}\t{f1_score(truth, best, average='macro'):.3f}"
    print(f"{counts}\t{wall / 60:.1f}\t{cpu / 60:.1f}\t{peak:.0f}\t{scores}")


if __name__ == "__main__":
    main()
