"""Times the parts, all ways of a part in turns within one process, and makes tables of what was found."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..lib.command import markdown_table
from .memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .part import Part
    from .settings import Settings


def say(text: str) -> None:
    """Show progress."""
    print(f"[{text}]", file=sys.stderr, flush=True)


def warm_up(make: Callable[..., Part], settings: Settings, sides: Sequence[str]) -> None:
    """Call each way once on a few cells, so that what the first call loads is not timed."""
    part = make(settings, few=True)
    part.setup()
    for side in sides:
        part.call(side)
    part.teardown()


def in_turns(ways: Mapping[Any, tuple[Part, str]], repeats: int) -> dict[Any, list[float]]:
    """Return the units a second of each way, turn by turn; every second turn goes backwards."""
    rates: dict[Any, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            part, side = ways[name]
            begin = time.perf_counter()
            part.call(side)
            rates[name].append(part.rate(time.perf_counter() - begin))
        said = ", ".join(f"{name} {values[-1]:,.1f}" for name, values in rates.items())
        say(f"{type(part).__name__}, turn {turn + 1} of {repeats}, {part.what}/s: {said}")
    return rates


def compare(name: str, make: Callable[..., Part], settings: Settings, repeats: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a part: what is compared, rates of both ways turn by turn, and peak memory."""
    part = make(settings)
    warm_up(make, settings, part.sides())
    part.setup()
    part.tune()
    rates = in_turns({side: (part, side) for side in part.sides()}, repeats)
    notes = {line: part.note(line) for line in part.lines}
    part.teardown()
    part.found.clear()
    memory = part.peaks | {
        side: peak_memory(make, part.settings, side) for side in part.sides() if side not in part.peaks
    }
    for line in part.lines:
        ours, reference = (np.array(rates[side]) for side in (line.ours, line.reference))
        yield {
            "part": name, "case": line.title, "unit": f"{part.what}/s", "ours": ours, "reference": reference,
            "ratio": ours / reference, "memory_mb": memory[line.ours], "reference_memory_mb": memory[line.reference],
            "note": notes[line],
        }  # fmt: skip


def grow(
    name: str, axis: str, makes: Mapping[int, Callable[..., Part]], settings: Settings, repeats: int
) -> Iterator[dict[str, Any]]:
    """Yield a line for each size of what grows, such as ``"cells"``; sizes take turns."""
    warm_up(next(iter(makes.values())), settings, ["ours"])
    parts = {size: make(settings) for size, make in makes.items()}
    for part in parts.values():
        part.setup()
    rates = in_turns({size: (part, "ours") for size, part in parts.items()}, repeats)
    for size, part in parts.items():
        counts = part.adata.X
        yield {
            "part": name, "axis": axis, "size": size, "cells": counts.shape[0],
            "genes_a_cell": counts.nnz / counts.shape[0], "cells_per_second": np.array(rates[size]),
            "memory_mb": peak_memory(makes[size], settings, "ours"),
        }  # fmt: skip


def figure(value: float) -> str:
    """Return a number with three digits, or as a whole number where it has more."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def comparison_table(found: Sequence[dict[str, Any]]) -> str:
    """Return rates, the ratio with its spread, and peak memory."""
    lines = [
        [
            line["part"], line["case"], line["unit"],
            figure(np.median(line["ours"])), figure(np.median(line["reference"])),
            f"{np.median(line['ratio']):.2f} ({line['ratio'].min():.2f} to {line['ratio'].max():.2f})",
            figure(line["memory_mb"]), figure(line["reference_memory_mb"]), line["note"],
        ]
        for line in found
    ]  # fmt: skip
    head = ["part", "case", "unit", "ours", "reference", "ratio (range)"]
    return markdown_table([*head, "peak memory, MB", "reference, MB", ""], lines)


def growth_table(grown: Sequence[dict[str, Any]]) -> str:
    """Return speed and memory by size."""
    lines = []
    for line in grown:
        rates = line["cells_per_second"]
        spread = f"{figure(np.median(rates))} ({figure(rates.min())} to {figure(rates.max())})"
        sizes = [f"{line['size']:,}", f"{line['cells']:,}", f"{line['genes_a_cell']:.0f}"]
        lines.append([line["part"], line["axis"], *sizes, spread, figure(line["memory_mb"])])
    return markdown_table(
        ["part", "grows with", "to", "cells", "genes a cell", "cells/s (range)", "peak memory, MB"], lines
    )


def by_turn(found: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return one row a turn of every line; ``columns`` hold a number a turn."""
    return pd.DataFrame(found).explode(list(columns), ignore_index=True)
