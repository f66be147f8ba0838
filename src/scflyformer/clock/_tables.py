"""What clocks found, as tables for `uns`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.clock._conformal import coverage
from scflyformer.clock._run import ALL, ARTICLE
from scflyformer.data._columns import plain_names
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from scflyformer.clock._run import Arm, GroupClock
    from scflyformer.clock._units import Cells

_SCORES = [f"{score}{end}" for score in ("r2", "mae", "spearman") for end in ("", "_low", "_high")]
_GAINS = [f"{score}_gain{end}" for score in ("r2", "spearman") for end in ("", "_low", "_high")]
_COUNTS = ["coverage", "coverage_lowest", "width", "n_cells", "n_units", "n_samples", "split", "target"]
RESULT_COLUMNS = ["group", "features", *_SCORES, *_GAINS, *_COUNTS]
N_TOP = 50
"""Genes of a fit, those with the largest weights, that count as its choice."""
N_GENES = 200
"""Genes of a group that are listed."""


def clock_tables(
    clocks: Sequence[GroupClock], skipped: Sequence[dict[str, str]], features: str, target: str, genes: np.ndarray
) -> dict[str, Any]:
    """Return what goes to `uns`.

    Parameters
    ----------
    clocks
        The clocks, that of all cells first.
    skipped
        Groups without one.
    features
        Feature set that the others are subtracted from.
    target
        The scale fitted, in words.
    genes
        Names of the genes of the expression block.
    """
    found: dict[str, Any] = {
        "results": pd.concat([result_rows(clock, features, target) for clock in clocks]),
        "predictions": predictions([prediction_table(clock) for clock in clocks]),
        "per_age": pd.concat([_per_age(clock) for clock in clocks]),
        "skipped": pd.DataFrame(skipped, columns=["group", "reason"], dtype=object),
    }
    if "expression" in clocks[0].arms:
        found["genes"] = pd.concat([_genes(clock, genes) for clock in clocks])
    if clocks[0].scales:
        rows = [{"group": each.group, "scale": at, "r2": value} for each in clocks for at, value in each.scales.items()]
        found["scale_trap"] = pd.DataFrame(rows)
    tables = {name: text_index(table) for name, table in found.items()}
    last = clocks[1:] or clocks  # those whose predictions go to obs, each cell once
    outside = {name: int(sum(each.outside[name][each.bundles].sum() for each in last)) for name in clocks[0].outside}
    return tables | {"n_outside": outside, "verdict": np.array(verdicts(tables["results"], features), dtype=object)}


def result_rows(clock: GroupClock, features: str, target: str) -> pd.DataFrame:
    """Return a row for each feature set of a group."""
    rows = []
    for name, arm in clock.arms.items():
        row = {"group": clock.group, "features": name, **scored(clock.units, arm), "target": target}
        row |= {"n_cells": len(clock.cells) if name != ARTICLE else int(np.isfinite(arm.predicted).sum())}
        if name not in (features, ARTICLE):
            for score in ("r2", "spearman"):
                gain = clock.arms[features].scores.gain(score, arm.scores)
                row |= dict(zip([f"{score}_gain{end}" for end in ("", "_low", "_high")], gain, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)


def scored(units: Cells, arm: Arm) -> dict[str, Any]:
    """Return scores, coverage and width of the intervals, and counts of units and samples of one feature set."""
    tested = np.isfinite(arm.predicted) if len(arm.predicted) == len(units.ages) else np.zeros(len(units.ages), bool)
    row: dict[str, Any] = {**arm.scores.row(), "split": arm.split, "n_samples": units.n_samples}
    row["n_units"] = int(np.isfinite(arm.predicted).sum())
    row |= dict.fromkeys(("coverage", "coverage_lowest", "width"), float("nan"))
    if np.isfinite(arm.low).any():
        inside = (arm.low <= units.ages) & (units.ages <= arm.high)
        row["coverage"], row["coverage_lowest"] = coverage(inside[tested], units.units[tested])
        row["width"] = float(np.median((arm.high - arm.low)[tested]))
    return row


def prediction_table(clock: GroupClock) -> pd.DataFrame:
    """Return one row a cell (or pseudocell): `cell`, `group`, `sample`, `age` and a column for each feature set."""
    units = clock.units
    sample = np.full(len(units.names), "") if units.samples is None else units.samples.astype(str)
    known = {"cell": plain_names(units.names), "group": clock.group, "sample": sample.astype(object)}
    return pd.DataFrame({**known, "age": units.ages, **{name: arm.predicted for name, arm in _of_units(clock).items()}})


def _of_units(clock: GroupClock) -> dict[str, Arm]:
    """Return the feature sets that date the clock's units: the article's dates cells, which bundles are not."""
    cells = np.array_equal(clock.bundles, np.arange(len(clock.units.ages)))
    return {name: arm for name, arm in clock.arms.items() if cells or name != ARTICLE}


def predictions(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of all groups as one, with groups and samples as categories."""
    table = pd.concat(tables, ignore_index=True)
    for name in ("group", "sample"):
        table[name] = pd.Categorical(table[name])
    return table


def _per_age(clock: GroupClock) -> pd.DataFrame:
    """Return how far predictions are off at each age: the mean over samples of predicted less true age."""
    units, rows = clock.units, []
    for name, arm in _of_units(clock).items():
        error = arm.predicted - units.ages
        for age in np.unique(units.ages):
            at = np.flatnonzero((units.ages == age) & np.isfinite(error))
            if not len(at):
                continue
            sample = np.zeros(len(at)) if units.samples is None else units.samples[at].astype(str)
            off = pd.DataFrame({"bias": error[at], "mae": np.abs(error[at])}).groupby(sample).mean()
            rows.append({"group": clock.group, "features": name, "age": age, "n_cells": len(at)})
            rows[-1] |= {"n_samples": 0 if units.samples is None else len(off), **off.mean().to_dict()}
    return pd.DataFrame(rows)


def _genes(clock: GroupClock, genes: np.ndarray) -> pd.DataFrame:
    """Return the genes that the expression clock leans on, and whether its fits agree on them."""
    weights = np.stack([head.weight[0] for head in clock.arms["expression"].heads])
    mean, size = weights.mean(axis=0), np.abs(weights)
    nth = min(N_TOP, size.shape[1])
    least = -np.partition(-size, nth - 1, axis=1)[:, nth - 1 : nth]
    listed = np.argsort(-np.abs(mean), kind="stable")[:N_GENES]
    table = pd.DataFrame(
        {
            "group": clock.group,
            "gene": genes.astype(str).astype(object),
            "weight": mean,
            "weight_sd": weights.std(axis=0),
            "same_sign": (np.sign(weights) == np.sign(mean)).mean(axis=0),
            "top_share": ((size >= least) & (size > 0)).mean(axis=0),
        }
    )
    return table.iloc[listed]


def verdicts(results: pd.DataFrame, features: str) -> list[str]:
    """Return a sentence for each other feature set of all cells: is ``features`` above it, and by how much."""
    from scflyformer.stats._reports import gain_words

    said = []
    rows = results[(results["group"].astype(str) == ALL) & results["r2_gain"].notna()]
    for row in rows.to_dict(orient="records"):
        fit, by = gain_words(row, "r2")
        line = f"{features} {fit} {row['features']} in R² ({by})"
        if np.isfinite([row[name] for name in _GAINS if name.startswith("spearman")]).all():
            order, so_far = gain_words(row, "spearman")
            line += f"; {order} it in Spearman ({so_far})"
        said.append(line)
    return said
