"""How often one cell's values alone tell linear decimals from log1p: real cells, made into decimals in several ways.

``python -m benchmarks.scale_reading`` prints, for each data set, kind of values and normalisation, the share of cells
that the package reads on another scale than theirs. Cells are taken as they are and thinned to a quarter of their
counts, with all genes and with a random 30 % of them; each is shown as linear values and behind log1p. The thresholds
of the rule were chosen on the sets under "chosen on". Takes about two minutes on one core.
"""

from __future__ import annotations

import zlib

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer.tokens._scale import LARGEST_LOG1P, LINEAR_SCALES, LOG1P, NO_EVIDENCE, read_cells

from .lib.command import new_parser

SETS = {
    "chosen on": ("fly/davie_brain_aging", "fly/fca_body", "fly_whole/larval_cns_1406", "fly_whole/antenna_orn",
                  "human/zheng_facs_3874"),
    "held out": ("fly/fca_head", "fly/baker_brain", "fly_whole/hung_midgut_1923", "fly/fca_gut_180cells",
                 "human/baron_pancreas_human_2142", "fly/bageritz_wingdisc_lib1"),
}  # fmt: skip
TARGETS = {"not": None, "1e4": 1e4, "1e6": 1e6, "median": "median"}
SIZES = {"<50": (1, 50), "50-200": (50, 201), ">200": (201, np.inf)}


def rows(x):
    """Return the cell of each value."""
    return np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))


def with_data(x, data):
    """Return ``x`` with other values, without zeros."""
    made = sparse.csr_matrix((data, x.indices.copy(), x.indptr.copy()), shape=x.shape)
    made.eliminate_zeros()
    return made


def soupx(x, types, random):
    """Counts less an ambient expectation of 2 to 30 % of the cell."""
    ambient, totals = np.asarray(x.sum(0)).ravel(), np.asarray(x.sum(1)).ravel()
    expected = (random.uniform(0.02, 0.3, x.shape[0]) * totals)[rows(x)] * (ambient / ambient.sum())[x.indices]
    return with_data(x, np.maximum(x.data - expected, 0))


def decontx(x, types, random):
    """Counts times the probability of being native, given the cell type's profile; down to almost 0."""
    ambient = np.asarray(x.sum(0)).ravel()
    labels, code = np.unique(types, return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(len(labels), len(code)))
    profile = (member @ x).toarray()
    profile /= profile.sum(1, keepdims=True)
    own = random.uniform(0.7, 0.98, x.shape[0])[rows(x)]
    native, foreign = own * profile[code[rows(x)], x.indices], (1 - own) * (ambient / ambient.sum())[x.indices]
    return with_data(x, x.data * native / (native + foreign))


def shares(x, types, random):
    """Counts less a gene's own share, 10 % on average."""
    return with_data(x, x.data * (1 - random.beta(1, 9, x.shape[1])[x.indices] * random.uniform(0.8, 1, x.nnz)))


def em(x, types, random):
    """Counts, 5 to 30 % of them with fractions."""
    split = random.random(x.nnz) < random.uniform(0.05, 0.3, x.shape[0])[rows(x)]
    simple = random.choice([1 / 2, 1 / 3, 2 / 3, 1 / 4, 3 / 4], x.nnz)
    fraction = np.where(random.random(x.nnz) < 0.5, simple, random.uniform(0.02, 0.98, x.nnz))
    return with_data(x, np.where(split, x.data - 1 + fraction, x.data))


def tpm(x, types, random):
    """Counts over gene lengths, per million."""
    return to_total(with_data(x, x.data / np.exp(random.normal(0.4, 0.8, x.shape[1]))[x.indices]), 1e6)


KINDS = {"soupx": soupx, "decontx": decontx, "shares": shares, "em": em, "tpm": tpm}


def to_total(x, target):
    """Scale each cell to a total, or to the median one."""
    totals = np.asarray(x.sum(1)).ravel()
    target = np.median(totals) if target == "median" else target
    return with_data(x, x.data * (target / np.maximum(totals, 1e-300))[rows(x)])


def read(path, n_cells, random):
    """Return the counts and types of some cells."""
    adata = ad.read_h5ad(path)
    cells = np.sort(random.choice(adata.n_obs, min(n_cells, adata.n_obs), replace=False))
    named = "cell_type" in adata.obs
    types = adata.obs["cell_type"].astype(str).to_numpy()[cells] if named else np.repeat("", len(cells))
    x = sparse.csr_matrix(adata.X[cells]).astype(np.float64)
    return with_data(x, x.data), types


def variants(x, types, random):
    """Yield kind, normalisation, whether linear, and the values of the cells, stored as float32."""
    for depth in (1.0, 0.25):
        thinned = x if depth == 1 else with_data(x, random.binomial(np.rint(x.data).astype(np.int64), depth) * 1.0)
        some = np.diff(thinned.indptr) > 0
        for kind, make in KINDS.items():
            made = make(thinned[some], types[some], random)
            for name, target in TARGETS.items():
                if kind == "tpm" and name in ("1e6", "median"):
                    continue  # TPM are per million as they are
                scaled = made if target is None else to_total(made, target)
                for share in (1.0, 0.3):
                    genes = np.flatnonzero(random.random(x.shape[1]) < share)
                    cut = scaled if share == 1 else scaled[:, genes]
                    cut = with_data(cut, cut.data.astype(np.float32))
                    cut = cut[np.diff(cut.indptr) > 0]
                    yield kind, name, True, cut.data.astype(np.float64), cut.indptr
                    logs = with_data(cut, np.log1p(cut.data))
                    logs = logs[np.diff(logs.indptr) > 0]
                    yield kind, name, False, logs.data.astype(np.float64), logs.indptr


def evaluate(path, n_cells):
    """Return a row for each cell: kind, normalisation, truth, answer, number of values."""
    random = np.random.default_rng(zlib.crc32(path.name.encode()))
    x, types = read(path, n_cells, random)
    parts = []
    for kind, target, linear, values, indptr in variants(x, types, random):
        scale = read_cells(values, indptr).scale
        part = pd.DataFrame({"n": np.diff(indptr), "wrong": ~np.isin(scale, LINEAR_SCALES if linear else LOG1P)})
        part["easy"] = np.maximum.reduceat(values, indptr[:-1]) > LARGEST_LOG1P
        part = part.assign(kind=kind, to=target, truth="linear" if linear else "log1p", set=path.stem)
        parts.append(part[scale != NO_EVIDENCE])
    return pd.concat(parts)


def table(cells, by):
    """Return percentages of cells read wrongly, and their number, by size."""
    columns = {}
    for name, (low, high) in SIZES.items():
        groups = cells[(cells["n"] >= low) & (cells["n"] < high)].groupby(by)["wrong"]
        columns[f"{name} %"], columns[f"{name} n"] = (100 * groups.mean()).round(2), groups.size()
    return pd.DataFrame(columns).rename(columns=str)


def main():
    """Print the tables."""
    parser = new_parser(__doc__)
    parser.add_argument("--cells", type=int, default=200, help="cells of each set (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="a line for each set, kind and normalisation")
    args = parser.parse_args()
    everything = []
    for half, paths in SETS.items():
        everything += [evaluate(args.data / f"{path}.h5ad", args.cells).assign(half=half) for path in paths]
    cells = pd.concat(everything)
    with pd.option_context("display.width", 160, "display.max_rows", None, "display.max_columns", None):
        print(table(cells, ["half", "truth"]), "\n")
        print("without the cells that have a value above 20\n", table(cells[~cells["easy"]], ["half", "truth"]), "\n")
        print(table(cells, ["half", "truth", "set"]), "\n")
        print(table(cells, ["truth", "kind", "to"]))
        if args.full:
            print("\n", table(cells, ["half", "set", "kind", "to", "truth"]))


if __name__ == "__main__":
    main()
