"""Cross-validated clocks of all cells and of each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.clock._conformal import HalfWidth, half_width, reason_for_none
from scflyformer.clock._predictions import AgePredictions
from scflyformer.clock._units import EXPRESSION, Aggregate, Cells, assign_pseudocells
from scflyformer.data._ages import Target, from_target, to_target
from scflyformer.data._features import folds

if TYPE_CHECKING:
    from scflyformer.stats._linear import LinearHead
    from scflyformer.stats._reports import NumberScores

ALL = "all"
FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "embedding": ("embedding",),
    "expression": (EXPRESSION,),
    "embedding+expression": ("embedding", EXPRESSION),
    "random": ("random",),
    "depth": ("depth",),
}
"""The blocks of each feature set; ``"mean"`` looks at no features."""
ONE_SCALE = ("embedding", "random")
"""Blocks that are scaled as a whole; genes and depth are standardised one by one."""
MEAN, ARTICLE = "mean", "article"
MIN_SAMPLES = 3
"""One to test, one to choose the penalty, one to learn from."""


@dataclass(frozen=True)
class ClockOptions:
    """How clocks are fitted.

    Attributes
    ----------
    feature_sets
        Those fitted: names of `FEATURE_SETS`.
    article
        Whether the published recipe is run as well.
    target
        Scale that is fitted.
    n_splits
        Folds, at least 3.
    seed
        Seed of folds, pseudocells and intervals.
    final
        Feature set of which a clock on all cells is wanted.
    aggregate, pseudocell_size
        What a clock reads.
    level
        Share of the cells of an average sample that an interval is to hold.
    """

    feature_sets: tuple[str, ...]
    article: bool = False
    target: Target = "log"
    n_splits: int = 5
    seed: int = 0
    final: str | None = None
    aggregate: Aggregate = "none"
    pseudocell_size: int = 15
    level: float = 0.9


@dataclass(frozen=True, eq=False)
class FeatureSetResult:
    """Out-of-fold predictions of one feature set, in the unit of the ages.

    Attributes
    ----------
    predicted, low, high
        Prediction and prediction interval of each unit; NaN where it was not tested, or there is no interval.
    scores
        Its scores, with what each sample contributes.
    heads
        The fits of the outer training sets.
    split
        What was held out.
    outside
        Whether each unit is predicted outside the ages of its training cells; `None` for the article's recipe.
    """

    predicted: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scores: NumberScores
    heads: Sequence[LinearHead] = ()
    split: str = "sample"
    outside: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class GroupClock:
    """Out-of-fold predictions and scores of one group.

    Attributes
    ----------
    group
        Its name, or ``"all"``.
    cells
        Positions of its cells.
    pseudocells
        Number of the unit of each of these; the cell itself without aggregation.
    units
        The units.
    results
        What each feature set gave.
    scales
        Scale → R² of the published recipe with features multiplied by it.
    head, interval
        Clock fitted on all cells, where asked for, and how far its intervals reach on the scale fitted.
    no_interval
        Why predictions have no intervals, or an empty text.
    """

    group: str
    cells: np.ndarray
    pseudocells: np.ndarray
    units: Cells
    results: dict[str, FeatureSetResult]
    scales: dict[float, float] = field(default_factory=dict)
    head: LinearHead | None = None
    interval: HalfWidth = field(default_factory=HalfWidth.none)
    no_interval: str = ""

    @property
    def ages(self) -> tuple[float, float]:
        """Least and highest age."""
        return float(self.units.ages.min()), float(self.units.ages.max())

    def by_cell(self, features: str) -> AgePredictions:
        """Return what a feature set predicts for each of the cells, by its unit."""
        result = self.results[features]
        assert result.outside is not None
        units = AgePredictions(result.predicted, result.low, result.high, result.outside)
        return units.take(self.pseudocells)


def too_small(cells: Cells, *, min_cells: int) -> str:
    """Return why no clock can be fitted on these cells, or an empty text."""
    ages = np.unique(cells.ages)
    if len(cells.ages) < (least := max(min_cells, MIN_SAMPLES)):
        return f"{len(cells.ages)} cells, fewer than {least}"
    if len(ages) < 2:
        return f"one age ({ages[0]:g})" if len(ages) else "no ages"
    if cells.samples is not None and cells.n_samples < MIN_SAMPLES:
        return f"{cells.n_samples} sample(s), fewer than {MIN_SAMPLES}"
    return ""


def fit_clocks(
    cells: Cells, groups: np.ndarray | None, options: ClockOptions, *, min_cells: int
) -> tuple[list[GroupClock], list[dict[str, str]]]:
    """Cross-validate a clock on all cells and one on each group that is large enough.

    ``groups`` is the group of each cell, `None` for a cell without one. Returned are the clocks, that of all cells
    first, and the groups skipped, with the reason.
    """
    clocks: list[GroupClock] = []
    skipped: list[dict[str, str]] = []
    names = [] if groups is None else sorted({str(name) for name in groups if name is not None})
    for name in _log.each([ALL, *names], desc=_bar_words, unit="clock"):
        if name == ALL:
            clocks.append(fit_clock(cells, np.arange(len(cells.ages)), ALL, options))
            continue
        inside = np.flatnonzero(groups == name)
        group_cells = cells.take(inside)
        if reason := too_small(group_cells, min_cells=min_cells):
            skipped.append({"group": name, "reason": reason})
            continue
        clocks.append(fit_clock(group_cells, inside, name, options))
    return clocks, skipped


def _bar_words(name: str) -> str:
    return "clock: all cells" if name == ALL else f"clock: {name}"


def fit_clock(cells: Cells, positions: np.ndarray, group: str, options: ClockOptions) -> GroupClock:
    """Cross-validate all feature sets on the cells of a group; ``positions`` are theirs among all cells."""
    from scflyformer.clock._ridge import nested_ridge

    target, final = options.target, options.final
    by_cell = folds(cells.names, cells.samples, values=cells.ages, n_splits=options.n_splits, seed=options.seed)
    alike = [by_cell, cells.ages, *([] if cells.samples is None else [cells.samples])]
    pseudocells = assign_pseudocells(
        cells.names, alike, options.aggregate, size=options.pseudocell_size, seed=options.seed
    )
    units, fold = cells, by_cell
    if options.aggregate != "none":
        units, fold = cells.aggregate(pseudocells), by_cell[np.unique(pseudocells, return_index=True)[1]]
    y, n_folds = to_target(units.ages, target), int(fold.max()) + 1
    fitted = nested_ridge(
        units.blocks, y, fold, {name: FEATURE_SETS[name] for name in options.feature_sets},
        final=[] if final is None else [final], together=ONE_SCALE, samples=units.samples,
    )  # fmt: skip
    counts = [len(np.unique(units.units[fold != f].astype(str))) for f in range(n_folds)]
    none = reason_for_none(min(counts), options.level)
    low, high = (np.array([pick(units.ages[fold != f]) for f in range(n_folds)])[fold] for pick in (np.min, np.max))

    def tested(
        on_target: np.ndarray, inner: np.ndarray, heads: Sequence[LinearHead], *, ordered: bool = True
    ) -> FeatureSetResult:
        reach = np.full(len(y), np.nan)
        for f in range(n_folds) if not none else ():
            train = fold != f
            width = half_width(inner[f, train], y[train] - inner[f, train], units.units[train], options.level)
            reach[~train] = width(on_target[~train])
        result = _score(units, y, on_target, reach, options, ordered=ordered)
        outside = (result.predicted < low) | (result.predicted > high)
        return replace(result, heads=heads, outside=outside)

    results = {name: tested(each.predicted, each.inner, each.heads) for name, each in fitted.items()}
    results[MEAN] = tested(*_training_means(y, fold, units.samples), (), ordered=False)
    scales: dict[float, float] = {}
    if options.article and "embedding" in cells.blocks:
        results[ARTICLE], scales = _article(cells, options, group)
    head, width = None, HalfWidth.none()
    if final is not None:
        head, told = fitted[final].head, fitted[final].predicted
        if not reason_for_none(len(np.unique(units.units.astype(str))), options.level):
            width = half_width(told, y - told, units.units, options.level)
    return GroupClock(group, positions, pseudocells, units, results, scales, head, width, none)


def _score(
    units: Cells,
    y: np.ndarray,
    on_target: np.ndarray,
    radius: np.ndarray | float,
    options: ClockOptions,
    *,
    ordered: bool = True,
) -> FeatureSetResult:
    """Score predictions on the target's scale."""
    from scflyformer.stats._reports import number_scores

    predicted, low, high = (from_target(v, options.target) for v in (on_target, on_target - radius, on_target + radius))
    scores = number_scores(
        units.ages, predicted, units.units, target_truth=y, target_predicted=on_target, ordered=ordered
    )
    return FeatureSetResult(predicted, low, high, scores, split=units.split)


def _training_means(y: np.ndarray, fold: np.ndarray, samples: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each cell, the mean target of the training samples (or cells), and the same of inner fits."""

    def mean(train: np.ndarray) -> float:
        if samples is None:
            return float(y[train].mean())
        return float(pd.Series(y[train]).groupby(samples[train].astype(str)).mean().mean())

    n_folds = int(fold.max()) + 1
    inner = np.full((n_folds, len(y)), np.nan)
    out = np.empty(len(y))
    for held in range(n_folds):
        out[fold == held] = mean(fold != held)
        for other in set(range(n_folds)) - {held}:
            inner[held, fold == other] = mean((fold != held) & (fold != other))
    return out, inner


def _article(cells: Cells, options: ClockOptions, group: str) -> tuple[FeatureSetResult, dict[float, float]]:
    """Run the published recipe, which knows no samples and pseudocells, on the cells; on all of them at each scale."""
    from scflyformer.clock._published import SCALES, published_clock
    from scflyformer.stats._regression import r2

    order, trap = np.argsort(cells.names.astype(str), kind="stable"), group == ALL
    x, y = np.asarray(cells.blocks["embedding"])[order], to_target(cells.ages, options.target)[order]
    runs = {scale: published_clock(x, y, scale=scale, seed=options.seed) for scale in (SCALES if trap else (1.0,))}
    if unfinished := [f"times {scale:g}" for scale, run in runs.items() if not run.converged]:
        _log.warning(
            f"age_clock: the article's recipe did not come to an end on features {', '.join(unfinished)} in group "
            f"{group!r}; its scores there are approximate. Other feature sets are not concerned."
        )
    plain = runs[1.0]
    tested = order[plain.tested]
    scored = _score(cells.take(tested), y[plain.tested], plain.predicted, float("nan"), options)
    untested = np.full(len(y), np.nan)
    predicted = untested.copy()
    predicted[tested] = scored.predicted
    scales = {scale: r2(y[run.tested], run.predicted) for scale, run in runs.items()}
    result = FeatureSetResult(predicted, untested, untested, scored.scores, split="cell 7:3")
    return result, scales if trap else {}
