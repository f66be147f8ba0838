"""How long `tl.adapt` takes and how much memory it holds, on drawn cells of a whole transcriptome.

``python -m benchmarks.speed.adapt`` adapts ``fly`` to 5,000 cells × 15,000 genes three times and prints seconds and MB.
The cells are copies of real midgut cells whose counts are drawn anew (Poisson), so that no two are the same.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
from scipy import sparse

import scflyformer as sf

from ..lib.command import new_parser
from ..lib.processes import peak_mb, start_peak


def drawn(cells: ad.AnnData, n_cells: int, n_genes: int, random: np.random.Generator) -> ad.AnnData:
    """Return ``n_cells`` copies of cells with new counts, over the most expressed ``n_genes``."""
    genes = np.sort(np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel(), kind="stable")[:n_genes])
    counts = sparse.csr_matrix(cells.X)[random.integers(cells.n_obs, size=n_cells)][:, genes].astype(np.float32)
    counts.data = random.poisson(counts.data).astype(np.float32)
    counts.eliminate_zeros()
    return ad.AnnData(counts, var=cells.var.iloc[genes][["FBgn"]].copy())


def main() -> None:
    """Read arguments, adapt, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--model", default="fly", help="name or folder of a model (default: %(default)s)")
    parser.add_argument("--cells", type=int, default=5000, help="cells (default: %(default)s)")
    parser.add_argument("--genes", type=int, default=15_000, help="genes (default: %(default)s)")
    args = parser.parse_args()
    midgut = ad.read_h5ad(args.data / "fly_whole" / "hung_midgut_1923.h5ad")
    cells = drawn(midgut, args.cells, args.genes, np.random.default_rng(0))
    sf.models.load(args.model).network()
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        before = start_peak()
        for repeat in range(3):
            start = time.perf_counter()
            sf.tl.adapt(cells, model=args.model, out=Path(folder) / str(repeat), gene_key="FBgn")
            seconds.append(time.perf_counter() - start)
        peak = peak_mb()
    print(f"{cells.n_obs:,} cells × {cells.n_vars:,} genes, {args.model}: {min(seconds):.1f} to {max(seconds):.1f} s")
    print(f"memory: {before:,.0f} MB before, at most {peak:,.0f} MB")


if __name__ == "__main__":
    main()
