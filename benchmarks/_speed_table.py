"""The tables of the speed suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _speed_runner import Found, Grown


def figure(value: float) -> str:
    """Return a number with three digits, or as a whole number where it has more."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def markdown(found: Sequence[Found]) -> str:
    """Return the table: rates, the ratio with its spread, and peak memory."""
    lines = []
    for line in found:
        ratio = f"{np.median(line.ratios):.2f} ({line.ratios.min():.2f} to {line.ratios.max():.2f})"
        rates = [figure(float(np.median(values))) for values in (line.ours, line.reference)]
        lines.append([line.part, line.title, f"{line.what}/s", *rates, ratio, *map(figure, line.memory), line.note])
    head = ["part", "case", "unit", "ours", "reference", "ratio (range)"]
    return rows([*head, "peak memory, MB", "reference, MB", ""], lines)


def growth_markdown(grown: Sequence[Grown]) -> str:
    """Return the second table: speed and memory by size."""
    lines = [
        [
            each.part,
            each.axis,
            f"{each.size:,}",
            f"{each.n_cells:,}",
            f"{each.genes:.0f}",
            f"{figure(float(np.median(each.rates)))} ({figure(min(each.rates))} to {figure(max(each.rates))})",
            figure(each.memory),
        ]
        for each in grown
    ]
    return rows(["part", "grows with", "to", "cells", "genes a cell", "cells/s (range)", "peak memory, MB"], lines)


def frame(found: Sequence[Found]) -> pd.DataFrame:
    """Return one row a turn of every line."""
    return pd.DataFrame(
        [
            {
                "part": line.part, "case": line.title, "unit": f"{line.what}/s", "turn": turn + 1, "ours": ours,
                "reference": reference, "ratio": ours / reference, "memory_mb": line.memory[0],
                "reference_memory_mb": line.memory[1], "note": line.note,
            }
            for line in found
            for turn, (ours, reference) in enumerate(zip(line.ours, line.reference, strict=True))
        ]
    )  # fmt: skip


def growth_frame(grown: Sequence[Grown]) -> pd.DataFrame:
    """Return one row a size and turn."""
    return pd.DataFrame(
        [
            {
                "part": each.part, "axis": each.axis, "size": each.size, "cells": each.n_cells,
                "genes_a_cell": each.genes, "turn": turn + 1, "cells_per_second": rate, "memory_mb": each.memory,
            }
            for each in grown
            for turn, rate in enumerate(each.rates)
        ]
    )  # fmt: skip
