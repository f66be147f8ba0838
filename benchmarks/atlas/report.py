"""What `benchmarks.atlas` says about its figures."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scflyformer as sf

from ..lib.command import command, markdown_table
from .make import N_CELLS

if TYPE_CHECKING:
    import argparse

ASKED = {"minutes": 3.0, "GB": 4.0}
"""For tokenizing the whole atlas on two cores."""


def growth(rows: list[dict[str, Any]], n_cells: int = N_CELLS) -> str:
    """Return what the sizes of one step say: a line through seconds and memory, and both at ``n_cells``."""
    cells = np.array([row["cells"] for row in rows], dtype=float)
    order = np.argsort(cells)
    speed = np.array([row["cells/s"] for row in rows])[order]
    slope, start = np.polyfit(cells, [row["seconds"] for row in rows], 1)
    more, base = np.polyfit(cells, [row["peak memory (GB)"] for row in rows], 1)
    seconds = start + slope * n_cells
    return (
        f"- {rows[0]['step']}: {start:.1f} s + {1000 * slope:.2f} s per 1,000 cells (least squares); cells/s at "
        f"{cells.max():,.0f} cells over those at {cells.min():,.0f}: {speed[-1] / speed[0]:.2f}; peak memory "
        f"{base:.2f} GB + {1e5 * more:.2f} GB per 100,000 cells. **Extrapolated, not measured**, to {n_cells:,} cells: "
        f"{seconds / 60:.1f} minutes, {base + more * n_cells:.1f} GB."
    )


def verdict(row: dict[str, Any]) -> str:
    """Return how tokenizing the whole file stands to what was asked."""
    minutes, memory = row["seconds"] / 60, row["peak memory (GB)"]
    met = [
        f"{minutes:.1f} minutes ({'under' if minutes < ASKED['minutes'] else 'NOT under'} {ASKED['minutes']:.0f})",
        f"{memory:.2f} GB ({'under' if memory < ASKED['GB'] else 'NOT under'} {ASKED['GB']:.0f})",
    ]
    return f"- The whole file, {row['cells']:,} cells, measured: {' and '.join(met)}."


def table(rows: list[dict[str, Any]]) -> str:
    """Return the figures as a Markdown table."""
    shown = {"cells": ",.0f", "seconds": ",.1f", "cells/s": ",.0f"}
    heads = list(rows[0])
    lines = [
        [row[head] if head == "step" else format(row[head], shown.get(head, ",.2f")) for head in heads] for row in rows
    ]
    return markdown_table(heads, lines, rules=["---", *["---:"] * (len(heads) - 1)])


def report(rows: list[dict[str, Any]], whole: dict[str, Any] | None, args: argparse.Namespace) -> str:
    """Return the table and what follows from it."""
    read = "nothing of the file in memory before" if args.cold else "the file read once before, so in memory if it fits"
    said = (
        f"scflyformer {sf.__version__}, torch {version('torch')}, Python {platform.python_version()}, "
        f"{args.threads} thread(s), model {Path(args.model).name}, {args.dtype}; {read}"
    )
    notes = [
        growth(found)
        for step in args.steps
        if len(found := [row for row in rows if row["step"] == step and row is not whole]) > 1
    ]
    notes += [verdict(whole)] if whole else []
    return f"`{command()}`\n\n{said}\n\n{table(rows)}\n\n" + "\n".join(notes) + "\n"
