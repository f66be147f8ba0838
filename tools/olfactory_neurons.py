"""Make the file behind ``datasets.olfactory_neurons`` from the cells as they were read.

``python -m tools.olfactory_neurons`` reads ``fly_whole/antenna_orn.h5ad`` of the folder of real data and writes
``src/scflyformer/datasets/olfactory_neurons.npz``: plain arrays, no pickle, gene by gene, with the three bytes of the
counts apart, as the higher ones are much alike and compress well. Nothing is lost. It prints how large the file is.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np

from benchmarks.lib.command import new_parser
from scflyformer.datasets._olfactory_neurons import unpacked

CELLS = Path("fly_whole") / "antenna_orn.h5ad"
OUT = Path(__file__).parents[1] / "src" / "scflyformer" / "datasets" / "olfactory_neurons.npz"
COLUMNS = {"cell_type": "cell_type", "age_stage": "stage", "batch": "batch", "min_step_cpm": "cpm_per_read"}


def packed(cells: ad.AnnData) -> dict[str, np.ndarray]:
    """Return the arrays of the file."""
    x = cells.X.tocsc()
    x.sum_duplicates()
    x.eliminate_zeros()
    if (x.data % 1).any() or x.data.min() < 0 or x.data.max() >= 2**24:
        raise ValueError(f"X holds values of {x.data.min()} to {x.data.max()}; expected whole numbers below 2**24.")
    counts = x.data.astype(np.uint32)
    expressed = np.zeros(x.shape[::-1], dtype=bool)
    expressed[np.repeat(np.arange(x.shape[1]), np.diff(x.indptr)), x.indices] = True
    obs = cells.obs[list(COLUMNS)].rename(columns=COLUMNS).rename_axis("cell")
    return {
        "expressed": np.packbits(expressed, axis=1),
        **{f"counts_{byte}": (counts >> np.uint32(8 * byte) & np.uint32(255)).astype(np.uint8) for byte in range(3)},
        "name": _text("\n".join(cells.var_names)),
        "FBgn": _text("\n".join(cells.var["FBgn"].astype(str))),
        "obs": _text(obs.to_csv(sep="\t")),
        "commit": np.array(cells.uns["source"]["commit"]),
    }


def _text(text: str) -> np.ndarray:
    """Return text as bytes."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def main() -> None:
    """Write the file, read it back, and say whether it is the same."""
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="the file (default: the package's)")
    args = parser.parse_args()
    cells = ad.read_h5ad(args.data / CELLS)
    np.savez_compressed(args.out, **packed(cells))
    with np.load(args.out, allow_pickle=False) as archive:
        back = unpacked(dict(archive))
    if (back.X != cells.X).nnz or not back.obs_names.equals(cells.obs_names):
        raise ValueError(f"What was written to {args.out} is not what was read from {args.data / CELLS}.")
    print(f"{back.n_obs} cells x {back.n_vars} genes, {back.X.nnz} counts, {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
