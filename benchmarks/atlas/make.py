"""Write a file shaped like the Aging Fly Cell Atlas: 566,254 cells × 15,992 genes, about 700 genes a cell.

``python -m benchmarks.atlas.make OUT.h5ad --cells 566254 --genes 15992`` writes counts piece by piece, so that memory
does not grow with the file. Each cell is a real one of the Fly Cell Atlas (``--data``) with some of its counts left
out, and further genes drawn at the levels of its type until it has as many as a real cell of its depth would. Without
real data the levels are Zipf-like; ``uns["atlas"]`` says which, and with what arguments the file was made.

With ``--published`` values and columns are those that the atlas's own file has, as far as that is known: log1p of
counts per 10,000, `afca_annotation`, `afca_annotation_broad`, `dataset` and `sex_age`, and no column of libraries.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from ..lib.command import new_parser
from .profiles import Profiles, profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy import sparse

N_CELLS, N_GENES, PER_CELL = 566_254, 15_992, 700
PIECE = 4096
"""Cells made at a time."""
POOL = 1 << 17
"""Genes of a type, each as often as its level asks: a draw is then a look-up."""
KEPT = (0.7, 1.0)
"""Share of a real cell's counts that is kept, drawn a cell, so that no two copies are alike."""
PANEL_SHARE = 0.4
"""Of the genes of a cell, those copied from a real one, at most."""
COUNT_BITS = 16
AGES, AGE_SHARES = (5, 30, 50, 70), (0.35, 0.25, 0.2, 0.2)
REPLICATES = 3
TARGET_SUM, N_BROAD = 1e4, 17


@dataclass(frozen=True, eq=False)
class Generator:
    """Draws cells after profiles, with ``per_cell`` genes on average.

    ``thin`` is the factor on `KEPT` that holds the copied genes at `PANEL_SHARE`; ``pools`` are the genes to draw from,
    n_types × `POOL`; ``expected`` the different genes expected, by type, of as many draws as ``draws`` says.
    """

    source: Profiles
    per_cell: float
    thin: float
    pools: np.ndarray
    draws: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, source: Profiles, per_cell: float) -> Generator:
        """Prepare what is the same for all cells."""
        n_genes = len(source.genes)
        middle = (np.arange(POOL) + 0.5) / POOL
        draws = np.unique(np.geomspace(1, 64 * n_genes, 80).astype(int))
        pools = np.empty((len(source.rates), POOL), dtype=np.int32)
        expected = np.empty((len(pools), len(draws)))
        for pool, found, rates in zip(pools, expected, source.rates, strict=True):
            ends = np.cumsum(rates, dtype=float)
            pool[:] = np.searchsorted(ends, middle * ends[-1])
            absent = np.log1p(-np.minimum(np.bincount(pool, minlength=n_genes) / POOL, 1 - 1e-9))
            found[:] = -np.expm1(draws[:, None] * absent).sum(axis=1)
        return cls(source, per_cell, _thinning(source.panel, PANEL_SHARE * per_cell), pools, draws, expected)

    def cells(self, rows: np.ndarray, random: np.random.Generator) -> sparse.csr_matrix:
        """Return new cells after the profiles ``rows``: counts, columns ascending, each once."""
        from scipy import sparse

        n_genes, panel = len(self.source.genes), self.source.panel[rows]
        lengths = np.diff(panel.indptr)
        kept = self.thin * random.uniform(*KEPT, len(rows))
        counts = random.binomial(panel.data, np.repeat(kept, lengths))
        owner = np.repeat(np.arange(len(rows)), lengths)
        copied = np.bincount(owner[counts > 0], minlength=len(rows))
        types, wanted = self.source.types[rows], self.per_cell * self.source.depth[rows] - copied
        n_drawn = np.zeros(len(rows), dtype=np.int64)
        for each in np.unique(types):
            inside = types == each
            n_drawn[inside] = np.interp(wanted[inside], self.expected[each], self.draws, left=0).round()
        drawer = np.repeat(np.arange(len(rows)), n_drawn)
        genes = self.pools[types[drawer], random.integers(0, POOL, len(drawer), dtype=np.int32)]
        # Cell, gene and count in one number, so that one sort brings the counts of a gene together.
        keys = np.concatenate([owner * n_genes + panel.indices, drawer * n_genes + genes]) << COUNT_BITS
        keys += np.concatenate([np.minimum(counts, (1 << COUNT_BITS) - 1), np.ones(len(genes), dtype=np.int64)])
        keys = np.sort(keys[np.concatenate([counts > 0, np.ones(len(genes), dtype=bool)])])
        places = keys >> COUNT_BITS
        first = np.flatnonzero(np.diff(places, prepend=-1))
        sums = np.add.reduceat(keys & ((1 << COUNT_BITS) - 1), first) if len(first) else np.empty(0)
        cell, gene = np.divmod(places[first], n_genes)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=len(rows)))])
        return sparse.csr_matrix((sums.astype(np.float32), gene.astype(np.int32), indptr), (len(rows), n_genes))


def _thinning(panel: sparse.csr_matrix, most: float) -> float:
    """Return the factor on `KEPT` at which so many genes a cell are left on average, at most 1."""
    sizes = np.bincount(panel.data) / panel.shape[0] if panel.nnz else np.zeros(1)
    factors = np.linspace(0, 1, 201)
    left = sizes @ -np.expm1(np.arange(len(sizes))[:, None] * np.log1p(-factors * np.mean(KEPT)))
    return float(np.interp(most, left, factors)) if left[-1] > most else 1.0


def make_atlas(
    out: Path, *, data: Path, n_cells: int = N_CELLS, n_genes: int = N_GENES, per_cell: float = PER_CELL,
    seed: int = 0, compression: str | None = None, published: bool = False,
) -> None:  # fmt: skip
    """Write the file, all of it or nothing."""
    if min(n_cells, n_genes) < 1 or not 0 < per_cell <= n_genes / 2:
        raise ValueError(
            f"Got {n_cells} cells × {n_genes} genes with {per_cell} a cell; expected one cell and gene or more, and at "
            "most half of the genes in a cell."
        )
    random = np.random.default_rng(seed)
    generator = Generator.of(profiles(data, n_genes, random), per_cell)
    made = {
        "n_genes": n_genes, "per_cell": float(per_cell), "seed": seed, "compression": compression or "none",
        "published": published,
    }  # fmt: skip
    part = out.with_name(f"{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(part, "w") as file:
            _write(file, generator, n_cells, random, compression, published)
            write_elem(file, "var", generator.source.genes[[]] if published else generator.source.genes)
            write_elem(file, "uns", {"atlas": made | {"source": generator.source.source}})
            for name in ("obsm", "varm", "obsp", "varp", "layers"):
                write_elem(file, name, {})
            file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _write(
    file: h5py.File, generator: Generator, n_cells: int, random: np.random.Generator, compression: Any, published: bool
) -> None:
    """Write the matrix piece by piece, then `obs`."""
    matrix = file.create_group("X")
    shape = (n_cells, len(generator.source.genes))
    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": shape})
    expected = max(int(n_cells * generator.per_cell), 1)
    for name, kind in (("data", np.float32), ("indices", np.int32)):
        matrix.create_dataset(name, (expected,), kind, maxshape=(None,), chunks=True, compression=compression)
    indptr, totals = np.zeros(n_cells + 1, dtype=np.int64), np.zeros(n_cells, dtype=np.float32)
    rows = random.integers(0, len(generator.source.types), n_cells)
    for start, piece in _pieces(generator, rows, random):
        stop, end = start + piece.shape[0], indptr[start] + piece.nnz
        indptr[start + 1 : stop + 1] = indptr[start] + piece.indptr[1:]
        totals[start:stop] = piece.sum(axis=1).A1
        if published:
            scale = TARGET_SUM / np.repeat(np.maximum(totals[start:stop], 1), np.diff(piece.indptr))
            piece.data = np.log1p(piece.data * scale).astype(np.float32)
        for name in ("data", "indices"):
            if end > len(matrix[name]):
                matrix[name].resize((int(1.1 * end),))
            matrix[name][indptr[start] : end] = getattr(piece, name)
    for name in ("data", "indices"):
        matrix[name].resize((int(indptr[-1]),))
    matrix.create_dataset("indptr", data=indptr)
    obs = _obs(generator.source.obs, rows, random).assign(total_counts=totals)
    write_elem(file, "obs", _as_published(obs).assign(n_genes_by_counts=np.diff(indptr)) if published else obs)


def _pieces(
    generator: Generator, rows: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """Yield the first cell's position and the counts of `PIECE` cells."""
    for start in range(0, len(rows), PIECE):
        yield start, generator.cells(rows[start : start + PIECE], random)


def _obs(cells: pd.DataFrame, rows: np.ndarray, random: np.random.Generator) -> pd.DataFrame:
    """Return the columns of cells after the profiles ``rows``: a sample is of one tissue, age and sex."""
    obs = pd.DataFrame({name: pd.Categorical(cells[name]).take(rows) for name in cells})
    age = random.choice(len(AGES), len(rows), p=AGE_SHARES)
    parts = [obs["tissue"].cat.codes, age, obs["sex"].cat.codes, random.integers(0, REPLICATES, len(rows))]
    sizes = [obs["tissue"].cat.categories, AGES, obs["sex"].cat.categories, range(1, REPLICATES + 1)]
    names = ["_".join(map(str, each)) for each in pd.MultiIndex.from_product(sizes)]
    codes = np.ravel_multi_index([np.asarray(part, dtype=np.int64) for part in parts], [len(size) for size in sizes])
    obs["age"] = pd.Categorical.from_codes(age, [str(each) for each in AGES])
    obs["sample"] = pd.Categorical.from_codes(codes, names).remove_unused_categories()
    obs.index = pd.Index(np.char.add("cell", np.arange(len(rows)).astype(str)))
    return obs


def _as_published(obs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns under the names of the atlas's file; its nuclei of 5 days are those of the Fly Cell Atlas."""
    obs = obs.drop(columns="sample").rename(columns={"cell_type": "afca_annotation"})
    broad = obs["afca_annotation"].cat.codes % N_BROAD
    obs["afca_annotation_broad"] = pd.Categorical("broad " + broad.astype(str))
    obs["dataset"] = pd.Categorical(np.where(obs["age"] == str(AGES[0]), "FCA", "AFCA"))
    obs["sex_age"] = pd.Categorical(obs["sex"].astype(str) + "_" + obs["age"].astype(str))
    return obs


def main() -> None:
    """Read arguments and write."""
    parser = new_parser(__doc__)
    parser.add_argument("out", type=Path, help="the h5ad file to write")
    parser.add_argument("--cells", type=int, default=N_CELLS, help="(%(default)s)")
    parser.add_argument("--genes", type=int, default=N_GENES, help="(%(default)s)")
    parser.add_argument("--per-cell", type=float, default=PER_CELL, help="mean genes a cell (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", choices=["gzip", "none"], default="none")
    parser.add_argument("--published", action="store_true", help="values and columns as the atlas's file has them")
    args = parser.parse_args()
    begin = time.perf_counter()
    make_atlas(
        args.out, data=args.data, n_cells=args.cells, n_genes=args.genes, per_cell=args.per_cell, seed=args.seed,
        compression=None if args.compression == "none" else args.compression, published=args.published,
    )  # fmt: skip
    with h5py.File(args.out) as file:
        n_values = len(file["X/data"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{args.out}: {args.cells:,} cells × {args.genes:,} genes, {n_values / args.cells:.0f} a cell, "
        f"{args.out.stat().st_size / 1e9:.2f} GB; {time.perf_counter() - begin:.0f} s, peak memory {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()
