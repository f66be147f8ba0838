"""Types that the reference lacks: two are taken out of it, and their cells should be the strangest of the query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lib.resamples import Libraries
from ..lib.results import described
from .scores import COVERAGE, auroc, coverage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .methods import Labelled
    from .tasks import Task

N_DRAWS = 5
N_HIDDEN = 2
MIN_QUERY, MIN_REFERENCE = 50, 100
"""Cells that a type must have on either side to be hidden."""


def without_types(task: Task, *, n_draws: int = N_DRAWS, seed: int = 0) -> tuple[Task, list[np.ndarray]]:
    """Return the task with a split a draw, from whose reference two types are taken; and those types."""
    (split,) = task.splits
    known, asked = task.labels[split.reference], task.labels[split.query]
    types = np.array([
        name for name in task.classes
        if (known == name).sum() >= MIN_REFERENCE and (asked == name).sum() >= MIN_QUERY
    ])  # fmt: skip
    if len(types) <= N_HIDDEN:
        raise ValueError(f"{task.name}: {len(types)} types have enough cells to be hidden; expected {N_HIDDEN + 1}.")
    random = np.random.default_rng(seed)
    hidden = [np.sort(random.choice(types, N_HIDDEN, replace=False)) for _ in range(n_draws)]
    splits = [
        replace(split, name=f"draw {number + 1}", reference=split.reference[~np.isin(known, names)])
        for number, names in enumerate(hidden)
    ]
    note = f"{task.note}; {N_HIDDEN} types hidden, mean of {n_draws} draws"
    views = {"": np.ones(n_draws * len(split.query), dtype=bool)}
    return replace(
        task, name=f"{task.name}, two types hidden", splits=splits, views=views, note=note, embed_once=True
    ), hidden


def hidden_scores(
    task: Task, found: Sequence[Labelled], hidden: Sequence[np.ndarray]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the view, means over the draws of types, and one record a draw.

    All draws label the same query cells, so that libraries are the same in each.
    """
    query = task.splits[0].query
    libraries, labels = task.libraries[query], task.labels[query]
    draws = Libraries(libraries)
    truth = np.searchsorted(task.classes, labels)
    scores: list[dict[str, np.ndarray]] = []
    for each, names in zip(found, hidden, strict=True):
        strange, score = np.isin(labels, names), each.score
        novelty = 1 - score if each.novelty is None else each.novelty
        right = ((each.codes(task.classes) == truth) & ~strange).astype(float)
        scores.append({
            "AUROC, hidden types": auroc(draws, novelty, strange),
            "AUROC, 1 − probability": auroc(draws, 1 - score, strange),
            "accuracy, known types": draws.mean(right, (~strange).astype(float)),
            f"{COVERAGE}, hidden among all": coverage(draws, score, right),
        })  # fmt: skip
    metrics = {name: np.mean([each[name] for each in scores], axis=0) for name in scores[0]}
    records = [
        {"draw": number + 1, "hidden": " + ".join(names)} | {name: float(values[0]) for name, values in each.items()}
        for number, (names, each) in enumerate(zip(hidden, scores, strict=True))
    ]
    n_train = int(np.mean([len(split.reference) for split in task.splits]))
    return described(metrics, draws, libraries, n_train, task.note), records
