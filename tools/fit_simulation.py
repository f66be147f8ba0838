"""Fit the summary that ``scflyformer.datasets.fly_brain_simulated`` draws its cells from.

    python -m tools.fit_simulation path/to/davie_brain_aging.h5ad

Only cells of the strain w1118 are read: the strain DGRP-551 is kept for evaluation and leaves no trace in the summary.
What is written are summary statistics (a level and an age slope for each cell type and gene, a dispersion a gene, depth
and proportion a cell type), never cells.

Model of the counts ``y`` of gene ``g`` in cell ``c`` of type ``t``, with depth ``s`` (its total count) and
``u = log2(age in days + 1)``::

    y ~ NB(mean = s * exp(level[t, g] + slope[t, g] * (u - U_MID)), variance = mean + dispersion[g] * mean ** 2)

The levels and slopes maximise a Poisson likelihood over libraries (for counts whose design is constant within type and
library the sums are sufficient). A gene has one slope over all types plus a deviation for each type with a normal
prior, so the profile of a rarely seen type and age is smoothed by the others; the dispersion is a moment estimate.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

#: Named types seen at every age of the strain.
CELL_TYPES = ("A.B-KC", "G-KC", "Ensheathing_glia", "Astrocyte-like", "Mip", "Pm1.Pm2", "TmY14", "Tm5c", "T4.T5")
#: Sub-types joined before the fit.
JOINED = {"A.B*-KC": "A.B-KC"}
STRAIN = "w1118"
U_MID = float(np.log2(31) / 2)
#: Prior sd of a gene's common slope and of a type's deviation from it (natural log for each doubling of days + 1).
SLOPE_SD, DEVIATION_SD = 0.10, 0.03
#: Planted genes of each role.
N_PLANTED = {"rises": 5, "falls": 3, "control": 5}
OUT = Path(__file__).parents[1] / "src" / "scflyformer" / "datasets" / "fly_brain_simulated.npz"


def pseudobulk(counts, type_code, library_code, n_types: int, n_libraries: int):
    """Sum counts (n_types, n_libraries, n_genes) and depths (n_types, n_libraries) by type and library."""
    group = type_code * n_libraries + library_code
    member = pd.get_dummies(pd.Categorical(group, categories=range(n_types * n_libraries)), dtype=np.float64).to_numpy()
    sums = np.asarray((counts.T @ member).T, dtype=np.float64)
    return sums.reshape(n_types, n_libraries, -1), sums.sum(axis=1).reshape(n_types, n_libraries)


def fit_levels_and_slopes(sums, depth, u, *, slope_sd: float, deviation_sd: float, n_iter: int = 60):
    """Fit level (n_types, n_genes) and slope (n_types, n_genes) by penalised Poisson likelihood, Newton step by step.

    ``u`` is the centred log age of each library. The level has a closed form given the slope; half a count, spread
    as the gene's mean over the types, keeps it finite.
    """
    n_types, _, n_genes = sums.shape
    total = sums.sum(axis=1)
    share = total.sum(axis=0) / depth.sum()
    common, deviation = np.zeros(n_genes), np.zeros((n_types, n_genes))
    for _ in range(n_iter):
        for shared in (True, False):
            slope = common + deviation
            weight = depth[:, :, None] * np.exp(slope[:, None, :] * u[None, :, None])
            level = np.log((total + 0.5) / (weight.sum(axis=1) + 0.5 / share))
            mean = weight * np.exp(level)[:, None, :]
            centre = (mean * u[None, :, None]).sum(axis=1) / mean.sum(axis=1)
            gradient = ((sums - mean) * u[None, :, None]).sum(axis=1)
            hessian = (mean * (u[None, :, None] - centre[:, None, :]) ** 2).sum(axis=1)
            if shared:
                step = (gradient.sum(axis=0) - common / slope_sd**2) / (hessian.sum(axis=0) + slope_sd**-2)
                common = common + np.clip(step, -0.5, 0.5)
            else:
                step = (gradient - deviation / deviation_sd**2) / (hessian + deviation_sd**-2)
                deviation = deviation + np.clip(step, -0.5, 0.5)
    return level, common + deviation, common


def moment_dispersion(counts, mean) -> np.ndarray:
    """Estimate a gene's negative-binomial dispersion by moments, sum((y - m)^2 - m) / sum(m^2), within [0.02, 8]."""
    excess = ((counts - mean) ** 2 - mean).sum(axis=0)
    return np.clip(excess / np.maximum((mean**2).sum(axis=0), 1e-12), 0.02, 8.0)


def library_spread(sums, depth, level, slope, u) -> float:
    """Estimate library effects: median over genes of the sd of log(observed / expected), Poisson noise removed."""
    expected = (depth[:, :, None] * np.exp(level[:, None, :] + slope[:, None, :] * u[None, :, None])).sum(axis=0)
    observed = sums.sum(axis=0)
    use = (expected > 20).all(axis=0)
    log_ratio = np.log((observed[:, use] + 0.5) / (expected[:, use] + 0.5))
    variance = log_ratio.var(axis=0, ddof=1) - (1 / expected[:, use]).mean(axis=0)
    return float(np.sqrt(np.median(np.maximum(variance, 0))))


def choose_planted(symbols, level, common) -> pd.DataFrame:
    """Choose genes to plant: well expressed ones whose fitted trend with age is clearest, and the flattest as controls.

    A trend is as clear as its slope times the root of the counts behind it. Ribosomal, mitochondrial and nameless genes
    are left out, and so are markers of single types.
    """
    mean_level = np.exp(level).mean(axis=0)
    even = level.max(axis=0) - level.min(axis=0) < np.log(25)
    named = np.array([not name.startswith(("CG", "CR", "lncRNA", "mt:", "Rp")) for name in symbols])
    pool = np.flatnonzero((mean_level > 8e-4) & (mean_level < 6e-3) & even & named)
    clear = (common * np.sqrt(mean_level))[pool]
    order = pool[np.argsort(clear, kind="stable")]
    chosen = {
        "rises": order[::-1][: N_PLANTED["rises"]],
        "falls": order[: N_PLANTED["falls"]],
        "control": pool[np.argsort(np.abs(clear), kind="stable")][: N_PLANTED["control"]],
    }
    return pd.DataFrame([(gene, role) for role, genes in chosen.items() for gene in genes], columns=["gene", "role"])


def fit(data: Path) -> dict[str, np.ndarray]:
    """Fit everything; return the arrays of the summary."""
    adata = ad.read_h5ad(data)
    adata = adata[(adata.obs["genotype"] == STRAIN).to_numpy()]
    cell_type = adata.obs["cell_type"].astype(str).replace(JOINED)
    keep = cell_type.isin(CELL_TYPES).to_numpy()
    adata, cell_type = adata[keep], cell_type[keep]
    counts = adata.X.astype(np.float64)
    type_code = pd.Categorical(cell_type, categories=CELL_TYPES).codes.astype(int)
    library = pd.Categorical(adata.obs["batch"].astype(str))
    ages = adata.obs["age"].to_numpy(dtype=float)
    u_cell = np.log2(ages + 1) - U_MID
    u = np.array([u_cell[library.codes == i].mean() for i in range(len(library.categories))])

    sums, depth = pseudobulk(counts, type_code, library.codes.astype(int), len(CELL_TYPES), len(u))
    level, slope, common = fit_levels_and_slopes(sums, depth, u, slope_sd=SLOPE_SD, deviation_sd=DEVIATION_SD)
    cell_depth = np.asarray(counts.sum(axis=1)).ravel()
    mean = cell_depth[:, None] * np.exp(level[type_code] + slope[type_code] * u_cell[:, None])
    dispersion = moment_dispersion(counts.toarray(), mean)
    log_depth = pd.Series(np.log(cell_depth)).groupby(type_code)
    symbols = adata.var_names.to_numpy(dtype=str)
    planted = choose_planted(symbols, level, common)
    return {
        "symbol": symbols.astype("U"),
        "gene_id": adata.var["FBgn"].to_numpy(dtype=str).astype("U"),
        "cell_type": np.array(CELL_TYPES, dtype="U"),
        "age": np.unique(ages).astype(np.int64),
        "level": level.astype(np.float32),
        "slope": slope.astype(np.float32),
        "dispersion": dispersion.astype(np.float32),
        "log_depth_mean": log_depth.mean().to_numpy(dtype=np.float32),
        "log_depth_sd": log_depth.std().to_numpy(dtype=np.float32),
        "proportion": (np.bincount(type_code) / type_code.size).astype(np.float32),
        "library_sd": np.float32(library_spread(sums, depth, level, slope, u)),
        "planted_gene": planted["gene"].to_numpy(dtype=np.int64),
        "planted_role": planted["role"].to_numpy(dtype=str).astype("U"),
        "n_cells_fitted": np.int64(type_code.size),
        "source": np.array(
            "davie_brain_aging (Davie et al. 2018, GSE107451), strain w1118 only; "
            "2,088 genes detected in every cluster and sex, not the whole transcriptome"
        ),
    }


def main() -> None:
    """Read the data file, fit, write the summary and print what was fitted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="davie_brain_aging.h5ad")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    summary = fit(args.data)
    np.savez_compressed(args.out, **summary)
    print(f"{summary['n_cells_fitted']} cells, {len(summary['cell_type'])} types, {len(summary['symbol'])} genes")
    print(f"library effects: sd {summary['library_sd']:.3f} (natural log)")
    print(f"dispersion: quartiles {np.quantile(summary['dispersion'], [0.25, 0.5, 0.75]).round(3)}")
    for gene, role in zip(summary["planted_gene"], summary["planted_role"], strict=True):
        slope, level = summary["slope"][:, gene].mean(), np.exp(summary["level"][:, gene]).mean()
        print(
            f"{role:8} {summary['symbol'][gene]:16} mean share {level:.5f}, fitted slope {slope:+.3f} a doubling of age"
        )
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
