"""What the parts of the speed suite share: benchmarks in asv's conventions that `python -m benchmarks` runs as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from _speed_settings import FEW, Settings

import scflyformer as sf

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


GENE_KEY = "FBgn"
"""Column of `var` with FlyBase ids."""


class Line(NamedTuple):
    """A line of the table: what is compared, by the ends of two methods' names ``time_…``."""

    title: str
    ours: str = "ours"
    reference: str = "reference"


class Timed:
    """One thing that is timed, by ``time_ours`` or in several ways.

    Attributes
    ----------
    what
        What is counted, such as ``"cells"``.
    units
        How many of these one call does; `setup` sets it.
    few
        Whether `setup` takes a few cells only, for a first call that is not timed.
    found
        What the latest call of each way gave.
    """

    what = "cells"
    few = False
    # asv: calls take seconds, one is enough for a sample, and what loads once is loaded by `setup`
    number, repeat, warmup_time, timeout = 1, 3, 0.0, 3600.0

    def setup(self, *_: Any) -> None:
        """Set threads and device; parts go on from here and make their cells and networks."""
        import scanpy as sc
        import torch

        self.settings = Settings.current()
        self.units = 0
        self.found: dict[str, Any] = {}
        torch.set_num_threads(self.settings.threads)
        sf.settings.device = self.settings.device  # type: ignore[assignment]
        sc.settings.verbosity = 0

    def teardown(self, *_: Any) -> None:
        """Leave nothing behind."""

    def call(self, side: str) -> Callable[..., None]:
        """Return the method that does it one way."""
        return getattr(self, f"time_{side}")

    def rate(self, side: str, seconds: float) -> float:
        """Return units a second of the latest call."""
        return self.units / seconds

    def cells(self, n: int) -> AnnData:
        """Return ``n`` cells of the file, or a few."""
        return self.settings.draw(FEW if self.few else n)


class Part(Timed):
    """One thing that is timed in several ways, ``time_ours``, ``time_reference`` and so on.

    Attributes
    ----------
    lines
        Which ways are held against each other.
    """

    lines: tuple[Line, ...] = ()

    def sides(self) -> tuple[str, ...]:
        """Return the ways that the lines name, each once."""
        return tuple(dict.fromkeys(side for line in self.lines for side in (line.ours, line.reference)))

    def tune(self) -> None:
        """Choose what the reference leaves open, to its favour."""

    def note(self, line: Line) -> str:
        """Return what a reader of the line should know."""
        return ""

    def peakmem_ours(self) -> None:
        """Memory of the package, for asv: beyond that of `setup` in the runner alone."""
        self.call("ours")()

    def peakmem_reference(self) -> None:
        """Memory of the reference, for asv."""
        self.call("reference")()
