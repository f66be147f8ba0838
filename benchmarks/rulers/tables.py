"""Tables of what the rulers say, and in words what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lib.command import markdown_table
from .sets import MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable

LABELS_SEEN = "scANVI"
"""It is trained on the labels that it is then scored by."""
MARK = "scANVI (saw the labels)"
AGGREGATES = ("Total", "Bio conservation", "Batch correction")

Cz = dict[str, dict[str, list[tuple[str, str, float]]]]
"""Representation → task → (metric, classifier or "", value), as ``cz_script.py`` writes it."""
Scib = dict[str, dict[str, float]]
"""Representation → metric → value, as ``scib_script.py`` writes it."""


def best_in_bold(values: Iterable[float | None]) -> list[str]:
    """Return the values with three decimals, the highest in bold; a dash for none."""
    numbers = [None if value is None else round(value, 3) for value in values]
    best = max((number for number in numbers if number is not None), default=None)
    return ["–" if n is None else f"**{n:.3f}**" if n == best else f"{n:.3f}" for n in numbers]


def cz_values(found: Cz) -> dict[tuple[str, str], dict[str, float]]:
    """Return value by representation for each (task, measure)."""
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for column, tasks in found.items():
        for task, results in tasks.items():
            for metric, classifier, value in results:
                measure = f"{metric}, {classifier}" if classifier else metric
                rows.setdefault((task, measure), {})[column] = value
    return rows


def cz_table(found: Cz) -> str:
    """Return a row for each measure of each task, and a sentence on what is lost."""
    rows, columns = cz_values(found), list(found)
    lines = [[*key, *best_in_bold([values.get(column) for column in columns])] for key, values in rows.items()]
    lost = [f"{task}: {measure}" for (task, measure), values in rows.items() if values[MODEL] < max(values.values())]
    said = f"`{MODEL}` is not the highest in {len(lost)} of {len(rows)} rows{': ' if lost else ''}{'; '.join(lost)}."
    return f"{markdown_table(['task', 'measure', *columns], lines)}\n\n{said}"


def scib_table(found: Scib) -> str:
    """Return a row for each representation, highest total first, and a sentence on what is above the model."""
    metrics = list(next(iter(found.values())))
    order = sorted(found, key=lambda name: -found[name]["Total"])
    cells = {metric: best_in_bold([found[name][metric] for name in order]) for metric in metrics}
    lines = [
        [MARK if name == LABELS_SEEN else name, *(cells[metric][place] for metric in metrics)]
        for place, name in enumerate(order)
    ]
    said = []
    for metric in AGGREGATES:
        above = [name for name in order if found[name][metric] > found[MODEL][metric]]
        said.append(f"{metric}: above `{MODEL}` {'are ' + ', '.join(above) if above else 'is none'}")
    return f"{markdown_table(['representation', *metrics], lines)}\n\n{'. '.join(said)}."
