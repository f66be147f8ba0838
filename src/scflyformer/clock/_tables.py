"""What clocks found, as tables for `uns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.clock._conformal import coverage
from scflyformer.clock._fit import ALL, ARTICLE
from scflyformer.data._columns import plain_names
from scflyformer.data._tables import text_index

if TYPE_CHECKING:
    from scflyformer.clock._fit import FeatureSetResult, GroupClock
    from scflyformer.clock._units import Cells

_SCORES = [f"{score}{end}" for score in ("r2", "mae", "spearman") for end in ("", "_low", "_high")]
_GAINS = [f"{score}_gain{end}" for score in ("r2", "spearman", "mae") for end in ("", "_low", "_high")]
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
        Groups without one, with the reason.
    features
        Feature set that the others are subtracted from.
    target
        The scale fitted, in words.
    genes
        Names of the genes of the expression block.
    """
    tables: dict[str, Any] = {
        "results": pd.concat([result_rows(clock, features, target) for clock in clocks]),
        "predictions": predictions_of([prediction_table(clock) for clock in clocks]),
        "per_age": pd.concat([_per_age(clock) for clock in clocks]),
        "skipped": pd.DataFrame(skipped, columns=["group", "reason"], dtype=object),
        "no_interval": no_interval_table({clock.group: clock.no_interval for clock in clocks}),
    }
    if "expression" in clocks[0].results:
        tables["genes"] = pd.concat([_genes(clock, genes) for clock in clocks])
    if clocks[0].scales:
        rows = [{"group": each.group, "scale": at, "r2": value} for each in clocks for at, value in each.scales.items()]
        tables["scale_trap"] = pd.DataFrame(rows)
    tables = {name: text_index(table) for name, table in tables.items()}
    last = clocks[1:] or clocks  # those whose predictions go to obs, each cell once
    tested = [name for name, result in clocks[0].results.items() if result.outside is not None]
    outside = {name: int(sum(clock.by_cell(name).outside.sum() for clock in last)) for name in tested}
    sentences = compare_feature_sets(tables["results"], features)
    return tables | {"n_outside": outside, "verdict": np.array(sentences, dtype=object)}


def no_interval_table(reasons: Mapping[str, str]) -> pd.DataFrame:
    """Return why groups have no prediction intervals, one row each; and say so."""
    rows = [{"group": group, "reason": reason} for group, reason in reasons.items() if reason]
    if rows:
        said = "; ".join(f"{row['group']} ({row['reason']})" for row in rows)
        _log.warning(f"age_clock: no prediction intervals, as errors of few samples do not bear one: {said}")
    return pd.DataFrame(rows, columns=["group", "reason"], dtype=object)


def result_rows(clock: GroupClock, features: str, target: str) -> pd.DataFrame:
    """Return a row for each feature set of a group."""
    rows = []
    for name, result in clock.results.items():
        row = {"group": clock.group, "features": name, **scored(clock.units, result), "target": target}
        row |= {"n_cells": len(clock.cells) if name != ARTICLE else int(np.isfinite(result.predicted).sum())}
        if name not in (features, ARTICLE):
            for score in ("r2", "spearman", "mae"):
                gain = clock.results[features].scores.gain(score, result.scores)
                row |= dict(zip([f"{score}_gain{end}" for end in ("", "_low", "_high")], gain, strict=True))
        rows.append(row)
    return pd.DataFrame(rows, columns=RESULT_COLUMNS)


def scored(units: Cells, result: FeatureSetResult) -> dict[str, Any]:
    """Return scores, coverage and width of the intervals, and counts of units and samples of one feature set."""
    tested = np.zeros(len(units.ages), bool)
    if len(result.predicted) == len(units.ages):
        tested = np.isfinite(result.low)
    row: dict[str, Any] = {**result.scores.row(), "split": result.split, "n_samples": units.n_samples}
    row["n_units"] = int(np.isfinite(result.predicted).sum())
    row |= dict.fromkeys(("coverage", "coverage_lowest", "width"), float("nan"))
    if np.isfinite(result.low).any():
        inside = (result.low <= units.ages) & (units.ages <= result.high)
        row["coverage"], row["coverage_lowest"] = coverage(inside[tested], units.units[tested])
        row["width"] = float(np.median((result.high - result.low)[tested]))
    return row


def prediction_table(clock: GroupClock) -> pd.DataFrame:
    """Return one row a cell (or pseudocell): `cell`, `group`, `sample`, `age` and a column for each feature set."""
    units = clock.units
    sample = np.full(len(units.names), "") if units.samples is None else units.samples.astype(str)
    known = {"cell": plain_names(units.names), "group": clock.group, "sample": sample.astype(object)}
    predicted = {name: result.predicted for name, result in _of_units(clock).items()}
    return pd.DataFrame({**known, "age": units.ages, **predicted})


def _of_units(clock: GroupClock) -> dict[str, FeatureSetResult]:
    """Return the results for the clock's units: the article's recipe predicts cells, which pseudocells are not."""
    cells = np.array_equal(clock.pseudocells, np.arange(len(clock.units.ages)))
    return {name: result for name, result in clock.results.items() if cells or name != ARTICLE}


def predictions_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of all groups as one, with groups and samples as categories."""
    table = pd.concat(tables, ignore_index=True)
    for name in ("group", "sample"):
        table[name] = pd.Categorical(table[name])
    return table


def _per_age(clock: GroupClock) -> pd.DataFrame:
    """Return how far predictions are off at each age: the mean over samples of predicted less true age."""
    units, rows = clock.units, []
    for name, result in _of_units(clock).items():
        error = result.predicted - units.ages
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
    weights = np.stack([head.weight[0] for head in clock.results["expression"].heads])
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


def compare_feature_sets(results: pd.DataFrame, features: str) -> list[str]:
    """Return a sentence for each other feature set of all cells: is ``features`` above it, and by how much.

    The last one says what few samples, or none, leave open.
    """
    from scflyformer.stats._reports import gain_caveat, gain_sentence

    sentences = []
    rows = results[(results["group"].astype(str) == ALL) & results["r2_gain"].notna()]
    for row in rows.to_dict(orient="records"):
        ordered = np.isfinite([row[name] for name in _GAINS if name.startswith("spearman")]).all()
        scores = {"r2": "R²", "spearman": "Spearman"} if ordered else {"r2": "R²"}
        sentences.append(gain_sentence(features, row, scores))
    return sentences + gain_caveat(int(rows["n_samples"].iloc[0])) if sentences else []
