"""Age told from the means of whole clusters, in cell types that the clock has not seen.

``python -m benchmarks.clock.clusters`` takes the clusters of the Aging Fly Cell Atlas from `datasets.flybase_clusters`:
92 types at 30, 50 and 70 days, both sexes together. A type is left out whole, with all its three clusters: ten folds of
types, dealt five times, scores averaged, 95 % intervals over types. All is learnt from the training types alone: which
genes are read, what stands for an unknown pair, the scale of a gene, and the penalty, which further types choose that
are held out inside. ``--classes`` leaves out whole classes of types instead, such as all glia.

Each age is one pool of nuclei, so that age and pool cannot be told apart. The table therefore ends with the same clock
for pools whose ages are swapped: as far as it dates those as well, it tells pools, not ages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scflyformer as sf
from scflyformer.ontology._terms import fbbt

from ..lib.command import command, markdown_table, new_parser
from ..lib.resamples import Resamples

if TYPE_CHECKING:
    from anndata import AnnData

MEAN, LISTED, DEPTH = "mean age", "which genes are listed", "how many genes are listed, how many nuclei"
EXPRESSION, HALF, ZEROS = "expression", "expression, listed in half", "expression, unknown as zero"
LAYERS = {"expression, mean of expressing": "mean_in_expressing", "expression, share expressing": "extent"}
ARMS = (MEAN, DEPTH, LISTED, EXPRESSION, *LAYERS, HALF, ZEROS)
SWAPPED = {"ages swapped: 50, 30, 70": (50, 30, 70), "ages swapped: 30, 70, 50": (30, 70, 50)}
"""What the pools of 30, 50 and 70 days are called; the two orders that are not the true one, up to reversal."""
CLASSES = {
    "neurons": "FBbt:00005106", "glia": "FBbt:00005144", "muscle": "FBbt:00005074", "epithelia": "FBbt:00000124",
}  # fmt: skip
OTHERS = "others"
PENALTIES = np.logspace(1, 5, 9)
N_FOLDS, N_INSIDE, N_DEALS = 10, 5, 5


@dataclass(frozen=True, eq=False)
class Clusters:
    """Values by kind, clusters × genes with NaN where unknown; type, age in days and cells of each cluster."""

    values: dict[str, np.ndarray]
    types: np.ndarray
    ages: np.ndarray
    cells: np.ndarray
    classes: np.ndarray = field(repr=False)


def at_all_ages(clusters: AnnData) -> AnnData:
    """Return the aging atlas's clusters of both sexes, of types that have one at each of its ages, in order."""
    aging = clusters[clusters.obs["age_days"].notna() & (clusters.obs["sex"] == "MIXED")]
    found = aging.obs.groupby("cell_type", observed=True)["age_days"].transform("nunique")
    aging = aging[found == aging.obs["age_days"].nunique()]
    return aging[np.lexsort([aging.obs["age_days"], aging.obs["cell_type"].astype(str)])].copy()


def read(clusters: AnnData) -> Clusters:
    """Return logarithms of means, shares as they are, and no value for what is unknown."""
    values = {}
    for name, matrix in {"X": clusters.X, **clusters.layers}.items():
        dense = matrix.toarray().astype(np.float64)
        values[name] = np.where(dense > 0, dense if name == "extent" else np.log1p(dense), np.nan)
    terms = clusters.obs["cell_type"].astype(str)
    return Clusters(
        values,
        clusters.obs["cell_type_name"].to_numpy(dtype=str),
        clusters.obs["age_days"].to_numpy(),
        clusters.obs["cell_count"].to_numpy(),
        np.array([class_of(term) for term in terms]),
    )


def class_of(term: str) -> str:
    """Return the class of cells that a term belongs to."""
    above = fbbt().ancestors(term)
    return next((name for name, top in CLASSES.items() if top in above), OTHERS)


def features(clusters: Clusters, arm: str, train: np.ndarray) -> np.ndarray:
    """Return what an arm reads of every cluster; genes and fillings are those of the training clusters."""
    known = np.isfinite(clusters.values["X"])
    if arm == DEPTH:
        return np.log(np.column_stack([known.sum(axis=1), clusters.cells]))
    values = clusters.values[LAYERS.get(arm, "X")]
    share = known[train].mean(axis=0)
    if arm == LISTED:
        return known[:, (share > 0) & (share < 1)].astype(float)
    values = values[:, share >= (0.5 if arm in (HALF, ZEROS) else 1.0)]
    return np.where(np.isfinite(values), values, 0.0 if arm == ZEROS else np.nanmean(values[train], axis=0))


def predict(clusters: Clusters, arm: str, held: np.ndarray) -> np.ndarray:
    """Return the ages of the clusters that are held out, told by a clock of the others."""
    train = ~held
    ages = clusters.ages[train]
    if arm == MEAN:
        return np.full(held.sum(), ages.mean())
    read_by = features(clusters, arm, train)
    clock = GridSearchCV(
        make_pipeline(StandardScaler(), Ridge()),
        {"ridge__alpha": PENALTIES},
        cv=GroupKFold(N_INSIDE),
        scoring="neg_mean_squared_error",
    )
    clock.fit(read_by[train], ages, groups=clusters.types[train])
    return np.asarray(clock.predict(read_by[held]))


def told(clusters: Clusters, arm: str, groups: np.ndarray, *, n_folds: int, seed: int) -> np.ndarray:
    """Return the age of each cluster, told by a clock that has seen no cluster of its group's fold."""
    names, group = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(seed).permutation(np.arange(len(names)) % n_folds)[group]
    predicted = np.full(len(groups), np.nan)
    for number in range(min(n_folds, len(names))):
        predicted[fold == number] = predict(clusters, arm, fold == number)
    return predicted


def scores(clusters: Clusters, predicted: np.ndarray, draws: Resamples) -> dict[str, np.ndarray]:
    """Return R², mean absolute error, and the share of types whose three clusters come in the order of their ages."""
    found = {
        "R²": draws.r2(clusters.ages, predicted),
        "MAE, days": draws.mean(np.abs(predicted - clusters.ages)),
    }
    if np.ptp(predicted) > 0:
        n_ages = len(np.unique(clusters.ages))
        order = np.lexsort([clusters.ages, clusters.types])
        rising = np.diff(predicted[order].reshape(-1, n_ages), axis=1).min(axis=1) > 0
        in_order = np.empty(len(order))
        in_order[order] = np.repeat(rising, n_ages)
        found["types in order"] = draws.mean(in_order)
    return found


def averaged(
    clusters: Clusters, arm: str, *, by_class: bool, n_boot: int, n_deals: int = N_DEALS
) -> dict[str, np.ndarray]:
    """Return the mean of the scores over deals of the folds, first as they are, then in each resample of types."""
    draws = Resamples(clusters.types, n_boot=n_boot, unit="types")
    if by_class:
        found = [scores(clusters, told(clusters, arm, clusters.classes, n_folds=len(CLASSES) + 1, seed=0), draws)]
    else:
        found = [
            scores(clusters, told(clusters, arm, clusters.types, n_folds=N_FOLDS, seed=seed), draws)
            for seed in range(n_deals)
        ]
    return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}


def swapped(clusters: Clusters, called: tuple[int, ...]) -> Clusters:
    """Return the same clusters with other ages for their pools."""
    return replace(clusters, ages=np.array(called, dtype=float)[np.unique(clusters.ages, return_inverse=True)[1]])


def table(rows: dict[str, dict[str, np.ndarray]]) -> str:
    """Return scores with 95 % intervals over types."""

    def text(values: np.ndarray | None) -> str:
        if values is None:
            return "–"
        low, high = np.quantile(values[1:], [0.025, 0.975])
        return f"{values[0]:.2f} ({low:.2f} to {high:.2f})"

    names = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    lines = [[row, *(text(metrics.get(name)) for name in names)] for row, metrics in rows.items()]
    return markdown_table(["", *names], lines)


def summary(clusters: Clusters) -> str:
    """Return how many types, clusters and listed genes there are."""
    known, ages = np.isfinite(clusters.values["X"]), np.unique(clusters.ages)
    sizes = pd.Series(clusters.classes[clusters.ages == ages[0]]).value_counts()
    classes = ", ".join(f"{name} {size}" for name, size in sizes.items())
    medians = (f"{age:.0f} days {np.median(known[clusters.ages == age].sum(axis=1)):.0f}" for age in ages)
    return (
        f"{sizes.sum()} types, {len(known)} clusters: {classes}.\n"
        f"Genes listed in every cluster: {known.all(axis=0).sum()}; in half: {(known.mean(axis=0) >= 0.5).sum()}.\n"
        f"Genes of the median cluster: {', '.join(medians)}."
    )


def main() -> None:
    """Compute and print."""
    parser = new_parser(__doc__)
    parser.add_argument("--classes", action="store_true", help="leave out whole classes of types")
    parser.add_argument("--n-boot", type=int, default=1000)
    args = parser.parse_args()
    clusters = read(at_all_ages(sf.datasets.flybase_clusters()))
    options = {"by_class": args.classes, "n_boot": args.n_boot}
    rows = {arm: averaged(clusters, arm, **options) for arm in ARMS}
    for arm, (name, called) in product((EXPRESSION, HALF), SWAPPED.items()):
        rows[f"{arm}; {name}"] = averaged(swapped(clusters, called), arm, **options)
    held_out = "whole classes of types" if args.classes else f"types, {N_FOLDS} folds, {N_DEALS} deals"
    print(f"`{command().strip()}`\n\n{summary(clusters)}\nHeld out: {held_out}.\n\n{table(rows)}")


if __name__ == "__main__":
    main()
