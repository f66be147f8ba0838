"""What the parts of the demo share: the cells and their columns, the table of what was found, maps and neighbours."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from matplotlib import pyplot as plt
from sklearn.neighbors import NearestNeighbors

TABLE = "found.tsv"
HEADER = ("step", "what", "embedding", "baseline", "expected")


@dataclass
class Demo:
    """What the steps share: the cells, the columns' names, where figures go, and the table of what was found."""

    adata: ad.AnnData
    out: Path
    model: str
    label: str | None
    age: str | None
    sample: str | None
    truth: pd.DataFrame | None
    options: argparse.Namespace
    #: Kind of cells: begins the names of files and steps; nothing for cells of one's own.
    kind: str = ""
    found: list[dict[str, str]] = field(default_factory=list)
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, step: str, what: str, ours: str, baseline: str = "", expected: str = "") -> None:
        """Add a line to the table."""
        step = f"{self.kind}: {step}" if self.kind else step
        self.found.append({"step": step, "what": what, "embedding": ours, "baseline": baseline, "expected": expected})

    def table(self) -> pd.DataFrame:
        """Return the table of what was found."""
        return pd.DataFrame(self.found, columns=list(HEADER))

    def keep_table(self) -> None:
        """Write the table as far as it goes."""
        self.table().to_csv(self.out / TABLE, sep="\t", index=False)

    def save(self, figure: plt.Figure, name: str) -> None:
        """Write a figure to the folder."""
        figure.savefig(self.out / self.file(f"{name}.png"), dpi=150, bbox_inches="tight")
        plt.close(figure)

    def file(self, name: str) -> str:
        """Name of a file of these cells."""
        return f"{self.kind}_{name}" if self.kind else name


def draw_umap(ax: plt.Axes, xy: np.ndarray, values: pd.Series | None, key: str | None, age: str | None) -> None:
    """Scatter the UMAP, coloured by a label or by age."""
    order = np.random.default_rng(0).permutation(len(xy))
    size = float(np.clip(12000 / len(xy), 1, 12))
    if values is None:
        ax.scatter(*xy.T, s=size, lw=0, color="#0072B2")
    elif key == age:
        days = values.to_numpy(dtype=float)
        dots = ax.scatter(*xy[order].T, c=np.log2(days[order] + 1), s=size, lw=0, cmap="viridis")
        ticks = np.unique(days)
        bar = ax.figure.colorbar(dots, ax=ax, label=f"{key}", ticks=np.log2(ticks + 1), shrink=0.8)
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
    else:
        labels = values.astype(str).to_numpy()
        names = sorted(set(labels))
        pairs = [*plt.get_cmap("tab20").colors, *plt.get_cmap("tab20b").colors]
        palette = [*pairs[:20:2], *pairs[1:20:2], *pairs[20:]]
        colours = {name: palette[number % len(palette)] for number, name in enumerate(names)}
        ax.scatter(*xy[order].T, c=[colours[name] for name in labels[order]], s=size, lw=0)
        marks = [plt.Line2D([], [], marker="o", lw=0, color=colours[name], label=name) for name in names]
        columns = -(-len(names) // 18)
        ax.legend(handles=marks, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, ncols=columns)
    ax.set(title=f"cell embedding by {key}" if key else "cell embedding", xticks=[], yticks=[])
    ax.set(xlabel="UMAP 1", ylabel="UMAP 2")


def neighbours_alike(x: np.ndarray, labels: np.ndarray, n_neighbors: int = 15) -> float:
    """Share of a cell's nearest neighbours that carry its label."""
    near = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(x).kneighbors(x, return_distance=False)[:, 1:]
    return float((labels[near] == labels[:, None]).mean())


def log_normalised(adata: ad.AnnData) -> ad.AnnData:
    """Return log1p counts per 10,000 (as it is, where the data come so)."""
    plain = ad.AnnData(adata.X.copy(), obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
    values = plain.X.data if hasattr(plain.X, "data") and not isinstance(plain.X, np.ndarray) else plain.X
    if np.all(np.asarray(values) % 1 == 0):
        sc.pp.normalize_total(plain, target_sum=1e4)
        sc.pp.log1p(plain)
    return plain


def principal_components(adata: ad.AnnData) -> np.ndarray:
    """Return 50 principal components of log-normalised expression."""
    plain = log_normalised(adata)
    sc.pp.pca(plain, n_comps=min(50, *(size - 1 for size in plain.shape)), random_state=0)
    return plain.obsm["X_pca"]
