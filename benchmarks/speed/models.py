"""Cells per second of `tl.embed` by one model and another, in turns in one run, on cells of three sets.

``python -m benchmarks.speed.models fly fly-0.1.0`` prints medians of five turns, and the ratio to the first model.
"""

from __future__ import annotations

import time
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc

import scflyformer as sf

from ..lib.command import markdown_table, new_parser

SETS = ("fly/fca_head", "fly/davie_brain_aging", "fly_whole/hung_midgut_1923")


def speed(data: Path, models: list[str], *, n_cells: int = 1000, n_turns: int = 5) -> str:
    """Return a table of embedded cells per second of each model, and the median ratio to the first, turn by turn."""
    heads = ["cells", "genes a cell", *(Path(model).name for model in models)]
    lines = []
    for name in SETS:
        cells = ad.read_h5ad(data / f"{name}.h5ad")
        cells = cells[np.sort(np.random.default_rng(0).choice(cells.n_obs, n_cells, replace=False))].copy()
        genes = int(np.median(np.asarray((cells.X != 0).sum(axis=1))))
        seconds = np.empty((n_turns, len(models)))
        for turn in range(-1, n_turns):  # the first is not timed
            for column, model in enumerate(models):
                start = time.perf_counter()
                sf.tl.embed(cells, model=model, gene_key="FBgn")
                if turn >= 0:
                    seconds[turn, column] = time.perf_counter() - start
        rates, ratios = n_cells / np.median(seconds, axis=0), np.median(seconds[:, :1] / seconds, axis=0)
        shown = [f"{rate:,.0f} cells/s, {ratio:.2f}×" for rate, ratio in zip(rates, ratios, strict=True)]
        lines.append([name.split("/")[1], f"{genes:,}", *shown])
    return markdown_table(heads, lines)


def main() -> None:
    """Read arguments and print."""
    parser = new_parser(__doc__)
    parser.add_argument("models", nargs="+", help="names or folders; the others are compared with the first")
    args = parser.parse_args()
    sc.settings.verbosity = 0
    print(speed(args.data, args.models))


if __name__ == "__main__":
    main()
