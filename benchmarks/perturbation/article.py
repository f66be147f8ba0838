"""The article's three genes in outer photoreceptors and a second type: over ages, and deleted, old against young.

The article's cells are not at hand. Of its atlas there are FlyBase's means of clusters, one cluster of a type at 30, 50
and 70 days. So young and old cells are **drawn** about those means (`tools.draw_cells`), and genes are deleted in old
ones that are drawn, or in real nuclei of 5 days. One cluster an age is one sample: all of this describes a model and
two clusters, and tests nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anndata as ad
import numpy as np
import pandas as pd

import scflyformer as sf
from benchmarks.lib.splits import some_of_each
from tools.draw_cells import draw, expected_profiles

if TYPE_CHECKING:
    from pathlib import Path

GENES = ("Drak", "fz2", "Hnf4")
TYPES = ("outer photoreceptor cell", "cone cell")
"""The article's type, and the second: our choice, the type with the most head nuclei that lists all three genes."""
YOUNG, OLD, NUCLEI = 30, 70, 5
"""Ages in days: where cells should go, where drawn ones come from, and that of the real nuclei."""
AGES = (YOUNG, 50, OLD)
DISPERSION = 0.278
"""Of real nuclei of one type and library, as ``python -m tools.draw_cells`` prints it."""
Read = Literal["all genes", "listed genes"]
"""What is drawn: all genes, those not listed filled in, or only those listed for the type's clusters, young and old."""


def aging_atlas(age: float) -> ad.AnnData:
    """Return the clusters of the Aging Fly Cell Atlas at an age, each nucleus in one cluster."""
    clusters = sf.datasets.flybase_clusters()
    chosen = (clusters.obs["age_days"] == age) & (clusters.obs["sex"] == "MIXED")
    return clusters[chosen.to_numpy()].copy()


def over_ages(label: str) -> pd.DataFrame:
    """Return ``gene``, ``age``, ``nuclei``, ``mean`` (counts per million) and ``share``; NaN where it is not listed."""
    rows = []
    for age in AGES:
        atlas = aging_atlas(age)
        own = atlas[(atlas.obs["cell_type_name"] == label).to_numpy(), list(GENES)]
        values = {"mean": own.X.toarray()[0], "share": own.layers["extent"].toarray()[0]}
        known = {name: np.where(array > 0, array, np.nan) for name, array in values.items()}
        nuclei = int(own.obs["cell_count"].iloc[0])
        rows.append(pd.DataFrame({"gene": GENES, "age": age, "nuclei": nuclei, **known}))
    return pd.concat(rows, ignore_index=True)


def drawn_cells(label: str, read: Read, n_cells: int, seed: int = 0) -> ad.AnnData:
    """Draw ``n_cells`` cells of a type at each of `YOUNG` and `OLD`; `obs`: ``age``, and ``batch``, their cluster.

    `var`, by FlyBase id, has ``symbol`` and ``log_fc``, log2 of the cluster's mean, old over young; NaN where one of
    them does not list the gene.
    """
    random = np.random.default_rng(seed)
    atlases = {age: aging_atlas(age) for age in (YOUNG, OLD)}
    own = {age: atlas[(atlas.obs["cell_type_name"] == label).to_numpy()] for age, atlas in atlases.items()}
    means = {age: of_type.X.toarray()[0] for age, of_type in own.items()}
    both = (means[YOUNG] > 0) & (means[OLD] > 0)
    log_fc = np.log2(np.divide(means[OLD], means[YOUNG], where=both, out=np.full(len(both), np.nan)))
    parts = []
    for age, atlas in atlases.items():
        listed, profile = expected_profiles(atlas)
        shares = np.zeros(atlas.n_vars)
        shares[listed] = profile[atlas.obs_names == own[age].obs_names[0]][0]
        used = listed & (both if read == "listed genes" else True)
        counts = draw(shares[used] / shares[used].sum(), n_cells, DISPERSION, random)
        obs = pd.DataFrame({"age": age, "batch": f"cluster, {age} days"}, index=[f"{age}-{n}" for n in range(n_cells)])
        var = pd.DataFrame({"symbol": atlas.var_names[used], "log_fc": log_fc[used]}, index=atlas.var["FBgn"][used])
        parts.append(ad.AnnData(counts, obs=obs, var=var))
    return ad.concat(parts, join="inner", merge="same")


def with_nuclei(drawn: ad.AnnData, path: Path, label: str, most: int) -> ad.AnnData:
    """Join real nuclei of a type, ``most`` of a library at most, to the drawn cells, on the genes that both have."""
    head = ad.read_h5ad(path)
    nuclei = some_of_each(head[(head.obs["cell_type"] == label).to_numpy()], ["batch"], most)
    obs = nuclei.obs[["batch"]].astype(str).assign(age=NUCLEI)
    nuclei = ad.AnnData(nuclei.X, obs=obs, var=pd.DataFrame(index=nuclei.var["FBgn"].astype(str)))
    joined = ad.concat([nuclei, drawn], join="inner")
    joined.var = drawn.var.loc[joined.var_names]
    return joined
