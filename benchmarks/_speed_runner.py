"""Times the parts: all ways of a part in turns within one process, a ratio from each turn."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from _speed_memory import peak_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _speed_growth import Growth
    from _speed_part import Line, Part, Timed


@dataclass(frozen=True)
class Found:
    """A line of the table.

    Attributes
    ----------
    part, title, what
        Name of the part, what is compared, and what is counted.
    ours, reference
        Units a second, one number a turn.
    memory
        Peak memory of both, MB.
    note
        What a reader should know.
    """

    part: str
    title: str
    what: str
    ours: list[float]
    reference: list[float]
    memory: tuple[float, float]
    note: str

    @property
    def ratios(self) -> np.ndarray:
        """How many times as fast ours is, turn by turn."""
        return np.array(self.ours) / np.array(self.reference)


def say(text: str) -> None:
    """Show progress."""
    print(f"[{text}]", file=sys.stderr, flush=True)


def timed(part: Timed, side: str, *params: Any) -> float:
    """Return the units a second of one call."""
    work = part.call(side)
    begin = time.perf_counter()
    work(*params)
    return part.rate(side, time.perf_counter() - begin)


def warm_up(kind: type[Timed], sides: tuple[str, ...], *params: Any) -> None:
    """Call each way once on a few cells, so that what the first call loads is not timed."""
    part = kind()
    part.few = True
    part.setup(*params)
    for side in sides:
        part.call(side)(*params)
    part.teardown(*params)


def in_turns(kind: type[Part], repeats: int) -> tuple[Part, dict[str, list[float]]]:
    """Return a part after ``repeats`` turns, and the rates of each way; every second turn goes backwards."""
    part = kind()
    warm_up(kind, part.sides())
    part.setup()
    part.tune()
    rates: dict[str, list[float]] = {side: [] for side in part.sides()}
    for turn in range(repeats):
        for side in part.sides()[:: -1 if turn % 2 else 1]:
            rates[side].append(timed(part, side))
        said = ", ".join(f"{side} {values[-1]:,.1f}" for side, values in rates.items())
        say(f"{kind.__name__}, turn {turn + 1} of {repeats}, {part.what}/s: {said}")
    return part, rates


def compare(name: str, kind: type[Part], repeats: int) -> Iterator[Found]:
    """Yield the lines of a part."""
    part, rates = in_turns(kind, repeats)
    notes = {line: part.note(line) for line in part.lines}
    part.teardown()
    part.found.clear()
    memory = {side: peak_memory(kind, side) for side in part.sides()}
    for line in part.lines:
        yield _found(name, part.what, line, rates, memory, notes[line])


def _found(
    name: str, what: str, line: Line, rates: dict[str, list[float]], memory: dict[str, float], note: str
) -> Found:
    both = (memory[line.ours], memory[line.reference])
    return Found(name, line.title, what, rates[line.ours], rates[line.reference], both, note)


@dataclass(frozen=True)
class Grown:
    """A line of the table of growth: ``genes`` a cell, ``rates`` in cells a second, ``memory`` in MB."""

    part: str
    axis: str
    size: int
    n_cells: int
    genes: float
    rates: list[float]
    memory: float


def grow(kind: type[Growth], repeats: int) -> Iterator[Grown]:
    """Yield a line for each size; sizes take turns."""
    sizes = kind.params[0]
    warm_up(kind, ("ours",), sizes[0])
    parts = {size: kind() for size in sizes}
    for size, part in parts.items():
        part.setup(size)
    rates: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(repeats):
        for size in sizes[:: -1 if turn % 2 else 1]:
            rates[size].append(timed(parts[size], "ours", size))
    for size, part in parts.items():
        x = part.adata.X
        say(f"{kind.__name__} {size}: {np.median(rates[size]):,.1f} cells/s")
        memory = peak_memory(kind, "ours", (size,))
        yield Grown(kind.part, kind.axis, size, x.shape[0], x.nnz / x.shape[0], rates[size], memory)
