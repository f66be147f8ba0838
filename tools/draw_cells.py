"""Draw cells from FlyBase's cluster means, one file for each atlas, as further cells to pretrain on.

``python -m tools.draw_cells --out drawn`` writes ``drawn/<atlas>.h5ad``. The cells are drawn, not measured: counts are
negative binomial about the mean profile of a cluster, with the dispersion of real nuclei of one type and library, and
with depths like those of real whole transcriptomes. A gene listed in no cluster of an atlas is not in its file. A gene
below a cluster's cut-off is unknown there, not zero: its share of expressing cells is what a censored normal model
expects, with an effect for the gene and one for the cluster on the logit scale. Davie's and Baker's atlases are left
out, because cells of theirs are held out from pretraining.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit, logit
from scipy.stats import norm

from benchmarks.lib.command import new_parser
from benchmarks.lib.splits import EXCLUDE

LEFT_OUT = ("Davie", "Baker")
CLUSTERS = Path("fly_whole") / "flybase_clusters_1042.h5ad"
FEWEST, MOST = 5, 40
"""Cells drawn from a cluster: as many as it has, within these bounds."""
DEPTH = (2000.0, 0.7)
"""Median and standard deviation of the logarithm of counts a cell."""
_LEAST_GROUP, _LEAST_MEAN = 150, 0.3
_ROUNDS = 30


def measured_dispersion(cells: ad.AnnData) -> np.ndarray:
    """Return the dispersion of each gene in each large group of one type and library, by the method of moments.

    Depth is taken as given: a gene's expectation in a cell is its share of the group's counts times the cell's total.
    """
    found = []
    for members in cells.obs.groupby(["cell_type", "batch"], observed=True).indices.values():
        if len(members) < _LEAST_GROUP:
            continue
        counts = cells.X[members].toarray().astype(float)
        expected = np.outer(counts.sum(1), counts.sum(0) / counts.sum())
        excess = ((counts - expected) ** 2 - expected).sum(0)
        used = expected.mean(0) > _LEAST_MEAN
        found.append(excess[used] / (expected[:, used] ** 2).sum(0))
    return np.concatenate(found)


def expected_extent(extent: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
    """Return the share of expressing cells of each gene in each cluster of one atlas, the unknown ones filled in.

    Parameters
    ----------
    extent
        Shares, 0 where unknown, shape (n_clusters, n_genes); each gene is known in some cluster.
    cutoff
        Cut-off of each cluster, below which nothing is listed, shape (n_clusters,).
    """
    known = extent > 0
    seen, bound = logit(np.clip(extent, 1e-3, 0.999)), logit(cutoff)[:, None]
    gene, cluster, spread = np.where(known, seen, bound - 1).mean(0), np.zeros((len(extent), 1)), 1.0
    filled = seen
    for _ in range(_ROUNDS):  # expectation-maximisation
        mean = gene + cluster
        z = (bound - mean) / spread
        ratio = norm.pdf(z) / np.maximum(norm.cdf(z), 1e-9)
        filled = np.where(known, seen, mean - spread * ratio)
        gene = (filled - cluster).mean(0)
        cluster = (filled - gene).mean(1, keepdims=True)
        cluster -= cluster.mean()
        residual = filled - gene - cluster
        variance = np.where(known, residual**2, residual**2 + spread**2 * (1 - z * ratio - ratio**2))
        spread = float(np.sqrt(variance.mean()))
    return np.where(known, extent, np.minimum(expit(filled), cutoff[:, None]))


def expected_mean(mean: np.ndarray) -> np.ndarray:
    """Return the mean over expressing cells, unknown ones (0) filled in from an effect of gene and one of cluster."""
    known = mean > 0
    seen = np.log(np.where(known, mean, 1))
    cluster = np.zeros((len(mean), 1))
    for _ in range(5):
        gene = ((seen - cluster) * known).sum(0) / np.maximum(known.sum(0), 1)
        cluster = ((seen - gene) * known).sum(1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
    return np.where(known, mean, np.exp(gene + cluster))


def expected_profiles(clusters: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    """Return which genes some cluster of one atlas lists, and each cluster's shares of counts over those genes."""
    extent = clusters.layers["extent"].toarray()
    listed = (extent > 0).any(0)
    mean = clusters.layers["mean_in_expressing"].toarray()[:, listed]
    profile = expected_extent(extent[:, listed], clusters.obs["cutoff_extent"].to_numpy(float)) * expected_mean(mean)
    return listed, profile / profile.sum(1, keepdims=True)


def draw(shares: np.ndarray, n_cells: int, dispersion: float, random: np.random.Generator) -> sparse.csr_matrix:
    """Return counts of cells drawn about one profile, whose ``shares`` add up to 1, CSR (n_cells, n_genes)."""
    depth = DEPTH[0] * np.exp(random.normal(0, DEPTH[1], (n_cells, 1)))
    rate = depth * shares * random.gamma(1 / dispersion, dispersion, (n_cells, len(shares)))
    return sparse.csr_matrix(random.poisson(rate).astype(np.float32))


def drawn_atlas(clusters: ad.AnnData, dispersion: float, random: np.random.Generator) -> ad.AnnData:
    """Return cells drawn from the clusters of one atlas."""
    listed, profile = expected_profiles(clusters)
    n_cells = np.clip(clusters.obs["cell_count"].to_numpy(int), FEWEST, MOST)
    counts = [draw(shares, n, dispersion, random) for shares, n in zip(profile, n_cells, strict=True)]
    obs = clusters.obs[["dataset_label", "cell_type", "cell_type_name"]].astype(str)
    obs = obs.assign(cluster=clusters.obs_names).iloc[np.repeat(np.arange(len(n_cells)), n_cells)]
    obs = obs.rename(columns={"dataset_label": "batch"}).set_index(pd.Index(np.arange(len(obs)).astype(str)))
    drawn = ad.AnnData(sparse.vstack(counts).tocsr(), obs=obs, var=clusters.var.loc[listed, ["FBgn", "symbol"]])
    drawn.uns["source"] = {
        "note": "Drawn from cluster means, not measured",
        "of": str(clusters.uns["source"]["paper"]),
        "licence": str(clusters.uns["source"]["licence"]),
    }
    return drawn


def main() -> None:
    """Read arguments, draw, write."""
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: %(default)s)")
    args = parser.parse_args()
    found = []
    for name in ("fca_head", "fca_body"):
        nuclei = ad.read_h5ad(args.data / "fly" / f"{name}.h5ad")
        found.append(measured_dispersion(nuclei[~nuclei.obs["batch"].isin(EXCLUDE["batch"])].copy()))
    dispersion = float(np.median(np.concatenate(found)))
    print(f"dispersion of nuclei of one type and library: {dispersion:.3f} (median over genes and groups)")
    clusters = ad.read_h5ad(args.data / CLUSTERS)
    atlases = clusters.obs["dataset_label"].astype(str)
    random = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in sorted(set(atlases)):
        if any(word in name for word in LEFT_OUT):
            continue
        cells = drawn_atlas(clusters[(atlases == name).to_numpy()].copy(), dispersion, random)
        cells.write_h5ad(args.out / f"{name}.h5ad", compression="gzip")
        print(f"{name}: {cells.n_obs} cells, {cells.n_vars} genes")


if __name__ == "__main__":
    main()
