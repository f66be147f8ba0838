"""Tasks that a representation of cells is probed by: cells, splits and targets in, views of the results out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lib.resamples import Libraries
from ..lib.results import described, kept, result_file
from .probes import neighbour_agreement, probe_age, probe_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..lib.data import Data, Fit
    from ..lib.representations import Representation

PROBES: dict[str, Callable[..., Any]] = {"labels": probe_labels, "age": probe_age, "neighbours": neighbour_agreement}


@dataclass(frozen=True, eq=False)
class Split:
    """Cells that a representation may be fitted on, and positions among the used cells of those probed."""

    fit: Fit
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """One row group of the table; ``kind`` is ``"labels"``, ``"age"`` or ``"neighbours"``.

    ``target`` is the class code, or log2(days + 1), of each used cell. Each split is fitted by itself; their test cells
    are pooled, and ``views`` are masks over those, by name. ``note`` is the split in words.
    """

    name: str
    kind: str
    data: Data
    target: np.ndarray
    splits: list[Split]
    views: dict[str, np.ndarray]
    note: str

    @property
    def test(self) -> np.ndarray:
        """Positions of all test cells."""
        return np.concatenate([split.test for split in self.splits])


def run(task: Task, representation: Representation) -> dict[str, Any]:
    """Return the metrics of each view, each as its value followed by that of each library."""
    found, chosen = [], []
    libraries, probe = task.data.libraries, PROBES[task.kind]
    for split in task.splits:
        blocks = representation.blocks(task.data, split.fit)
        result = probe(blocks, task.target, libraries, split.train, split.test)
        predicted, parameter = (result, None) if task.kind == "neighbours" else result
        found.append(predicted)
        chosen.append(parameter)
    predicted, truth, libraries = np.concatenate(found), task.target[task.test], libraries[task.test]
    n_train = int(np.mean([len(split.train) for split in task.splits]))
    views = {}
    for view, mask in task.views.items():
        draws = Libraries(libraries[mask])
        x, y = truth[mask], predicted[mask]
        if task.kind == "labels":
            metrics = {"accuracy": draws.mean((x == y).astype(float)), "macro-F1": draws.macro_f1(x, y)}
        elif task.kind == "age":
            metrics = {"R²": draws.r2(x, y), "Spearman": draws.spearman(x, y)}
        else:
            metrics = {"same label": draws.mean(y)}
        views[view] = described(metrics, draws, libraries[mask], n_train, task.note)
    return {"views": views, "chosen": chosen}


def probed(task: Task, columns: Sequence[Representation], work: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (row, column, view) of every column, computed or read; each is kept as soon as it is there."""
    results = []
    for column in columns:
        file = result_file(work, task.name, column.name, f"{column.key}-{task.data.key}")
        make = partial(run, task, column)
        views = kept(file, make, f"{task.name}: {column.name}")["views"]
        results += [(f"{task.name}, {view}" if view else task.name, column.name, each) for view, each in views.items()]
    return results
