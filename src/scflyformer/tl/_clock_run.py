"""The clocks of all cells and of each group, as arrays and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.tl._ages import Target, from_target, to_target
from scflyformer.tl._features import folds

if TYPE_CHECKING:
    from scipy import sparse

    from scflyformer.stats._linear import LinearHead

ALL = "all"
ARMS: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding",),
    "expression": ("expression",),
    "embedding+expression": ("embedding", "expression"),
    "depth": ("depth",),
}
"""The blocks of each feature set; ``"mean"`` looks at no features."""
MEAN = "mean"
MIN_SAMPLES = 3
"""One to test, one to choose the penalty, one to learn from."""
_SCORES = [f"{score}{end}" for score in ("r2", "mae", "spearman") for end in ("", "_low", "_high")]
RESULT_COLUMNS = ["group", "features", *_SCORES, "n_cells", "n_samples", "split", "target"]


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with ages.

    Attributes
    ----------
    names
        Cell names, shape (n_cells,).
    ages
        Ages, without NaN, shape (n_cells,).
    samples
        Sample of each cell, or `None`.
    blocks
        Feature matrices, n_cells × features.
    """

    names: np.ndarray
    ages: np.ndarray
    samples: np.ndarray | None
    blocks: Mapping[str, np.ndarray | sparse.csr_matrix]

    def take(self, rows: np.ndarray) -> Cells:
        """Return some of the cells."""
        samples = None if self.samples is None else self.samples[rows]
        return Cells(self.names[rows], self.ages[rows], samples, {k: block[rows] for k, block in self.blocks.items()})

    @property
    def n_samples(self) -> int:
        """Samples among the cells; 0 where none are named."""
        return 0 if self.samples is None else len(np.unique(self.samples.astype(str)))

    @property
    def units(self) -> np.ndarray:
        """What intervals draw: samples, or cells where none are named."""
        return self.names if self.samples is None else self.samples

    @property
    def split(self) -> str:
        """What is held out."""
        return "cell" if self.samples is None else "sample"


@dataclass(frozen=True, eq=False)
class GroupClock:
    """Out-of-fold predictions and scores of one group.

    Attributes
    ----------
    group
        Its name, or ``"all"``.
    cells
        Positions of its cells.
    predicted
        Age of each cell by feature set, in the unit of the ages.
    rows
        Results, one dictionary for each feature set.
    n_outside
        Cells predicted outside the ages of their training cells, by feature set.
    head
        Clock fitted on all cells of the group, where asked for.
    ages
        Least and highest age of the group.
    """

    group: str
    cells: np.ndarray
    predicted: dict[str, np.ndarray]
    rows: list[dict[str, Any]]
    n_outside: dict[str, int]
    ages: tuple[float, float]
    head: LinearHead | None = field(default=None)


def too_small(cells: Cells, *, min_cells: int) -> str:
    """Return why no clock can be fitted on these cells, or an empty text."""
    ages = np.unique(cells.ages)
    if len(cells.ages) < min_cells:
        return f"{len(cells.ages)} cells, fewer than {min_cells}"
    if len(ages) < 2:
        return f"one age ({ages[0]:g})" if len(ages) else "no ages"
    if cells.samples is not None and cells.n_samples < MIN_SAMPLES:
        return f"{cells.n_samples} sample(s), fewer than {MIN_SAMPLES}"
    return ""


def run_clocks(
    cells: Cells, groups: np.ndarray | None, arms: Sequence[str], min_cells: int, **run: Any
) -> tuple[list[GroupClock], list[pd.DataFrame], list[dict[str, str]]]:
    """Cross-validate a clock on all cells and one on each group that is large enough.

    Parameters
    ----------
    cells
        The cells.
    groups
        Group of each cell, `None` for a cell without one; `None` for no groups.
    arms
        Names of `ARMS`.
    min_cells
        Least cells of a group.
    run
        As for :func:`run_clock`.

    Returns
    -------
    The clocks, that of all cells first; their predictions as tables; the groups skipped, with the reason.
    """
    everything = np.arange(len(cells.ages))
    clocks = [run_clock(cells, everything, ALL, arms, **run)]
    tables, skipped = [_prediction_table(cells, clocks[0])], []
    names = [] if groups is None else sorted({str(name) for name in groups if name is not None})
    for name in _log.progress(names, desc="clocks", unit="group", shown=bool(names)):
        inside = np.flatnonzero(groups == name)
        some = cells.take(inside)
        if reason := too_small(some, min_cells=min_cells):
            skipped.append({"group": name, "reason": reason})
            continue
        clocks.append(run_clock(some, inside, name, arms, **run))
        tables.append(_prediction_table(some, clocks[-1]))
    return clocks, tables, skipped


def run_clock(
    cells: Cells,
    positions: np.ndarray,
    group: str,
    arms: Sequence[str],
    *,
    target: Target,
    n_splits: int,
    seed: int,
    final: str | None = None,
) -> GroupClock:
    """Cross-validate all feature sets on the cells of a group.

    Parameters
    ----------
    cells
        The cells.
    positions
        Where they stand among all cells.
    group
        Name for the results.
    arms
        Names of `ARMS`.
    target
        Scale that is fitted.
    n_splits
        Folds, at least 3.
    seed
        Seed of folds and intervals.
    final
        Feature set of which a clock on all cells is wanted.
    """
    from scflyformer.stats._reports import number_scores
    from scflyformer.stats._ridge import nested_ridge

    y = to_target(cells.ages, target)
    fold = folds(cells.names, cells.samples, values=cells.ages, n_splits=n_splits, seed=seed)
    fitted = nested_ridge(
        cells.blocks, y, fold, {arm: ARMS[arm] for arm in arms}, final=[] if final is None else [final]
    )
    on_target = {arm: result.predicted for arm, result in fitted.items()}
    on_target[MEAN] = _training_means(y, fold, cells.samples)
    predicted = {arm: from_target(values, target) for arm, values in on_target.items()}
    low, high = (
        np.array([pick(cells.ages[fold != f]) for f in range(fold.max() + 1)])[fold] for pick in (np.min, np.max)
    )
    rows = []
    for arm, values in predicted.items():
        scores = number_scores(
            cells.ages,
            values,
            cells.units,
            target_truth=y,
            target_predicted=on_target[arm],
            ordered=arm != MEAN,
            seed=seed,
        )
        rows.append({"group": group, "features": arm, **scores, "n_cells": len(y), "n_samples": cells.n_samples})
        rows[-1] |= {"split": cells.split}
    n_outside = {arm: int(((values < low) | (values > high)).sum()) for arm, values in predicted.items()}
    ages = (float(cells.ages.min()), float(cells.ages.max()))
    return GroupClock(group, positions, predicted, rows, n_outside, ages, None if final is None else fitted[final].head)


def _training_means(y: np.ndarray, fold: np.ndarray, samples: np.ndarray | None) -> np.ndarray:
    """Return, for each cell, the mean target of the training samples (or training cells)."""
    out = np.empty(len(y))
    for held in range(fold.max() + 1):
        train = fold != held
        if samples is None:
            out[~train] = y[train].mean()
        else:
            out[~train] = pd.Series(y[train]).groupby(samples[train].astype(str)).mean().mean()
    return out


def _prediction_table(cells: Cells, clock: GroupClock) -> pd.DataFrame:
    """Return one row a cell: `cell`, `group`, `sample`, `age` and a column for each feature set."""
    sample = np.full(len(cells.names), "") if cells.samples is None else cells.samples.astype(str)
    known = {"cell": cells.names.astype(str).astype(object), "group": clock.group, "sample": sample.astype(object)}
    return pd.DataFrame({**known, "age": cells.ages, **clock.predicted})


def clock_tables(
    clocks: Sequence[GroupClock], predictions: Sequence[pd.DataFrame], skipped: Sequence[dict[str, str]], target: str
) -> dict[str, Any]:
    """Return the tables for `uns`: results, predictions, skipped groups, and predictions outside the ages learnt."""
    results = pd.DataFrame([row | {"target": target} for clock in clocks for row in clock.rows])
    table = pd.concat(predictions, ignore_index=True)
    for name in ("group", "sample"):
        table[name] = pd.Categorical(table[name])
    return {
        "results": text_index(results[RESULT_COLUMNS]),
        "predictions": text_index(table),
        "skipped": text_index(pd.DataFrame(skipped, columns=["group", "reason"], dtype=object)),
        "n_outside": {arm: int(sum(clock.n_outside[arm] for clock in clocks)) for arm in clocks[0].n_outside},
    }


def text_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a text index, as h5ad keeps it."""
    return table.set_axis(np.arange(len(table)).astype(str).astype(object), axis="index")
