"""Make the file behind ``datasets.flybase_clusters`` from the cluster summaries and the table of their data sets.

``python -m tools.cluster_summaries`` reads ``fly_whole/flybase_clusters_1042.h5ad`` and
``tables/flybase_cluster_datasets.tsv`` of the folder of real data and writes
``src/scflyformer/datasets/flybase_clusters.npz``: plain arrays, no pickle. Shares of expressing cells are whole numbers
of cells, which are kept; means are kept on a logarithmic scale in steps of 0.0005, so that they come back within
0.025 %. It prints what was lost and how large the file is.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from benchmarks.lib.command import new_parser
from scflyformer.datasets._flybase_clusters import unpacked

STEP = 0.0005
"""Width of a step of the means, in natural log: they are off by half of it at most."""
CLUSTERS = Path("fly_whole") / "flybase_clusters_1042.h5ad"
DATASETS = Path("tables") / "flybase_cluster_datasets.tsv"
OUT = Path(__file__).parents[1] / "src" / "scflyformer" / "datasets" / "flybase_clusters.npz"
CREDIT = ("dataset_label", "dataset", "accession", "reference", "title")


def packed(clusters: ad.AnnData, datasets: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the arrays of the file; `datasets` has a row for each value of ``obs["dataset"]``."""
    mean, extent = (clusters.layers[name].tocsc() for name in ("mean_in_expressing", "extent"))
    for matrix in (mean, extent):
        matrix.sort_indices()
    if not (np.array_equal(mean.indptr, extent.indptr) and np.array_equal(mean.indices, extent.indices)):
        raise ValueError("The layers mean_in_expressing and extent list different pairs of gene and cluster.")
    sizes = clusters.obs["cell_count"].to_numpy()[extent.indices]
    n_cells = np.round(extent.data.astype(np.float64) * sizes)
    if np.abs(n_cells / sizes - extent.data).max() > 1e-6:
        raise ValueError("Some shares of expressing cells are no whole number of cells of their cluster.")
    least = float(mean.data.min())
    steps = np.round(np.log(mean.data.astype(np.float64) / least) / STEP)
    if max(n_cells.max(), steps.max()) >= 2**16:
        raise ValueError("A number of cells or a mean is too large for 16 bits.")
    listed = np.zeros((clusters.n_vars, clusters.n_obs), dtype=bool)
    listed[np.repeat(np.arange(clusters.n_vars), np.diff(mean.indptr)), mean.indices] = True
    return {
        "listed": np.packbits(listed, axis=1),
        **_planes("cells", n_cells.astype(np.uint16)),
        **_planes("mean", steps.astype(np.uint16)),
        "mean_least": np.float64(least),
        "mean_step": np.float64(STEP),
        "FBgn": clusters.var["FBgn"].to_numpy(dtype=str),
        "symbol": clusters.var["symbol"].astype(str).to_numpy(dtype=str),
        "obs": _text(_columns(clusters)),
        "datasets": _text(datasets),
        "commit": np.array(clusters.uns["source"]["commit"]),
    }


def _planes(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return the low and the high bytes apart: the high ones are much alike and compress well."""
    return {f"{name}_low": (values & 255).astype(np.uint8), f"{name}_high": (values >> 8).astype(np.uint8)}


def _columns(clusters: ad.AnnData) -> pd.DataFrame:
    """Return `obs` with ontology terms written as FBbt and FBdv are: with a colon."""
    obs = clusters.obs.astype(object).rename_axis("cluster")
    for name in ("cell_type", "stage"):
        obs[name] = obs[name].str.replace("_", ":", regex=False)
    return obs


def _text(table: pd.DataFrame) -> np.ndarray:
    """Return a table as the bytes of tab-separated text."""
    return np.frombuffer(table.to_csv(sep="\t").encode(), dtype=np.uint8)


def credited(table: pd.DataFrame, used: pd.Series) -> pd.DataFrame:
    """Return what the summaries of each data set in use came from."""
    table = table.rename(columns={"label": "dataset_label", "ref": "reference", "description": "title"})
    licences = table.loc[table["dataset"].isin(used), "licence"].unique().tolist()
    if licences != ["VFBlicense_CC_BY_4_0"]:
        raise ValueError(f"The licences are {', '.join(licences)}; expected CC BY 4.0 alone.")
    return table.loc[table["dataset"].isin(used), list(CREDIT)].set_index("dataset_label")


def main() -> None:
    """Write the file, read it back, and say what it lost."""
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="the file (default: the package's)")
    args = parser.parse_args()
    clusters = ad.read_h5ad(args.data / CLUSTERS)
    datasets = credited(pd.read_csv(args.data / DATASETS, sep="\t", index_col=0), clusters.obs["dataset"])
    np.savez_compressed(args.out, **packed(clusters, datasets))
    with np.load(args.out, allow_pickle=False) as archive:
        back = unpacked(dict(archive))
    lost = np.abs(back.layers["mean_in_expressing"].data / clusters.layers["mean_in_expressing"].data - 1).max()
    extent = np.abs(back.layers["extent"].data - clusters.layers["extent"].data).max()
    print(f"{back.n_obs} clusters x {back.n_vars} genes, {back.X.nnz} pairs, {args.out.stat().st_size / 1e6:.2f} MB")
    print(f"means within {lost:.2e} of themselves, shares within {extent:.1e}")


if __name__ == "__main__":
    main()
