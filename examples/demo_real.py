"""The demo on real data that ship with the package: olfactory neurons, and FlyBase's means of ageing clusters."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from demo_cells import Demo
from matplotlib import pyplot as plt

import scflyformer as sf

#: Plates that `fly` and `fly-tiny` read in pretraining, without labels; their provenance.json counts the cells.
IN_PRETRAINING = ("P1", "P2")
#: The genes of the article and the cell type in which it looks at them.
GENES = ("Drak", "fz2", "Hnf4")
OF_TYPE = "outer photoreceptor cell"
AGES = (30, 50, 70)
#: Genes of like expression beside each gene.
N_LIKE = 200
BLUE, GREY = "#0072B2", "0.75"
#: Letters of a line.
WIDE = 110


def load_neurons(options: argparse.Namespace, found: list[dict[str, str]]) -> Demo:
    """Return the olfactory neurons, and say where they are from and what the models have seen of them."""
    adata = sf.datasets.olfactory_neurons()
    source, seen = adata.uns["source"], adata.obs["batch"].isin(IN_PRETRAINING).sum()
    text = (
        f"{adata.n_obs} real cells × {adata.n_vars:,} genes: olfactory neurons of {source['paper']}, {source['geo']}, "
        f"{source['technology']}, licence {source['licence']}; {adata.obs['cell_type'].nunique()} types, 5 plates. "
        f"{seen} of them (plates {', '.join(IN_PRETRAINING)}) were in the pretraining of fly and fly-tiny, without "
        f"labels; the other {adata.n_obs - seen} (P5, P6, P7) were not, but had a part in choosing how fly was trained."
    )
    print(textwrap.fill(text, WIDE, subsequent_indent="  "))
    model = options.model or "fly"
    columns = {"label": "cell_type", "age": None, "sample": "batch"}
    return Demo(adata, options.out, model, **columns, truth=None, options=options, kind="neurons", found=found)


def by_pretraining(demo: Demo, predicted: str) -> None:
    """Add the share of right labels on plates that were in pretraining, and on those that were not."""
    obs = demo.adata.obs
    right = (obs[f"{predicted}_best"].astype(str) == obs["cell_type"].astype(str)).to_numpy()
    seen = obs["batch"].isin(IN_PRETRAINING).to_numpy()
    demo.add(
        "annotation",
        "accuracy, plates P5, P6, P7 alone",
        f"{right[~seen].mean():.3f}",
        f"plates P1 and P2, in pretraining without labels {right[seen].mean():.3f}",
    )


def label_from_file(demo: Demo) -> None:
    """Label the cells by a classifier that ships, which has learnt from other cells, and count its terms."""
    adata = demo.adata
    sf.tl.annotate(adata, key_added="shipped")
    names = adata.obs["shipped_fbbt_name"].value_counts()
    shown = ", ".join(f"{name} {n / adata.n_obs:.0%}" for name, n in names.head(4).items() if n)
    print(f"  {adata.uns['shipped']['params']['classifier']}: {shown}")
    neuron = adata.obs["shipped_fbbt_name"].astype(str).str.contains("neuron")
    demo.add("from the file alone", "labelled a neuron, or a kind of neuron", f"{neuron.mean():.3f}", f"terms: {shown}")


def cluster_means(genes: list[str] | None = None) -> tuple[ad.AnnData, pd.DataFrame]:
    """Return the ageing atlas's clusters, and their means: a row for each type and age, NaN where not listed."""
    clusters = sf.datasets.flybase_clusters()
    aging = clusters[clusters.obs["age_days"].isin(AGES) & (clusters.obs["sex"] == "MIXED")].copy()
    values = (aging if genes is None else aging[:, genes]).to_df().where(lambda table: table > 0)
    values.index = pd.MultiIndex.from_arrays([aging.obs["cell_type_name"].astype(str), aging.obs["age_days"]])
    return aging, values


def ageing_clusters(options: argparse.Namespace, found: list[dict[str, str]]) -> None:
    """Draw the article's genes over age in outer photoreceptors, beside all other types; fold changes in the table."""
    aging, values = cluster_means()
    source = aging.uns["source"]
    text = (
        f"{aging.n_obs} clusters of {aging.obs['cell_count'].sum():,} nuclei of the Aging Fly Cell Atlas at 30, 50 and "
        f"70 days; {source['name']}, {source['licence']}. Means, one pool of flies an age: no test is possible."
    )
    print(textwrap.fill(text, WIDE, initial_indent="  ", subsequent_indent="  "))
    demo = Demo(aging, options.out, "", None, None, None, None, options, kind="ageing", found=found)
    figure, axes = plt.subplots(1, len(GENES), figsize=(10, 3.2), sharey=True)
    for axis, gene in zip(axes, GENES, strict=True):
        draw_trend(axis, values[gene].unstack(), gene)
        axis.set_xlabel("age in days")
    axes[0].set_ylabel("mean, as a multiple of that at 30 days")
    figure.suptitle(f"{OF_TYPE}s (blue, counts per million) and all other types (grey)", fontsize=10)
    figure.tight_layout()
    demo.save(figure, "clusters")
    own = np.log2(values.loc[OF_TYPE].loc[list(AGES)])
    own = own.loc[:, own.notna().all()]
    for gene in (gene for gene in GENES if gene in own):
        like = (own.mean() - own[gene].mean()).abs().sort_values().index[1 : N_LIKE + 1]
        change, others = own[gene].iloc[-1] - own[gene].iloc[0], own[like].iloc[-1] - own[like].iloc[0]
        numbers = " → ".join(f"{value:.0f}" for value in 2 ** own[gene])
        share = (others.abs() >= abs(change)).mean()
        demo.add(
            "outer photoreceptors",
            f"{gene}, 30 → 50 → 70 days",
            f"{numbers} per million, ×{2**change:.2f}",
            f"{N_LIKE} genes of like expression: median ×{2 ** others.median():.2f}, as large a change in {share:.0%}",
        )


def draw_trend(axis: plt.Axes, by_type: pd.DataFrame, gene: str) -> None:
    """Draw a gene over age as a multiple of its mean at 30 days: a line for each type, the one of interest on top."""
    for name, row in by_type.div(by_type[AGES[0]], axis=0).iterrows():
        mine = name == OF_TYPE
        style = {"color": BLUE, "lw": 2.2, "marker": "o", "zorder": 3} if mine else {"color": GREY, "lw": 0.6}
        axis.plot(row.index, row.to_numpy(), **style)
        for age, height in row.items() if mine else ():
            axis.annotate(
                f"{by_type.loc[name, age]:.0f}", (age, height), (0, 6), textcoords="offset points", ha="center"
            )
    axis.set_yscale("log", base=2)
    axis.set(title=gene, xticks=list(AGES), ylim=(1 / 4, 4), xlim=(27, 73))
    axis.set_yticks([1 / 4, 1 / 2, 1, 2, 4], ["1/4", "1/2", "1", "2", "4"])
    axis.spines[["top", "right"]].set_visible(False)


def front_figure(neurons: ad.AnnData, predicted: str, path: Path) -> None:
    """Write the figure of the README: types of the neurons, true against predicted, beside the trends."""
    figure = plt.figure(figsize=(11.5, 6), layout="constrained")
    grid = figure.add_gridspec(len(GENES), 2, width_ratios=[2.4, 1])
    axis = figure.add_subplot(grid[:, 0])
    sf.pl.confusion(neurons, truth="cell_type", key=predicted, ax=axis, show=False)
    axis.set_title(f"olfactory neurons, plates held out: {axis.get_title()}", fontsize=10)
    _, values = cluster_means(list(GENES))
    for number, gene in enumerate(GENES):
        axis = figure.add_subplot(grid[number, 1])
        draw_trend(axis, values[gene].unstack(), gene)
    axis.set_xlabel("age in days; value at 30 days: 1\nblue: outer photoreceptors, CPM", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)
