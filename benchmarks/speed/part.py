"""What the parts of the speed suite share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import scanpy as sc
import torch

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData

    from .settings import Settings

GENE_KEY = "FBgn"
"""Column of `var` with FlyBase ids."""
FEW = 8
"""Cells of a call that only loads what the first call loads."""


class Line(NamedTuple):
    """A line of the table: which ways of a part are compared."""

    title: str
    ours: str = "ours"
    reference: str = "reference"


class Part:
    """One thing that is done in several ways, each a method: ``ours``, ``reference`` and others that `lines` name.

    ``setup`` makes cells and networks and sets ``units``, how many of ``what`` one call does; with ``few`` it takes a
    few cells only, for a first call that is not timed. ``found`` is what the latest call of each way gave. ``peaks``
    are peaks of memory by way, MB, that a part has measured itself; those of other ways are measured by `peak_memory`.
    """

    what = "cells"
    lines: ClassVar[tuple[Line, ...]] = ()

    def __init__(self, settings: Settings, *, few: bool = False) -> None:
        self.settings, self.few = settings, few
        self.units = 0
        self.found: dict[str, Any] = {}
        self.peaks: dict[str, float] = {}

    def setup(self) -> None:
        """Set threads and device; parts go on from here."""
        torch.set_num_threads(self.settings.threads)
        sf.settings.device = self.settings.device  # type: ignore[assignment]
        sc.settings.verbosity = 0

    def teardown(self) -> None:
        """Leave nothing behind."""

    def sides(self) -> list[str]:
        """Return the ways that the lines name, each once."""
        return list(dict.fromkeys(side for line in self.lines for side in (line.ours, line.reference)))

    def call(self, side: str) -> None:
        """Do it one way."""
        self.found[side] = getattr(self, side)()

    def rate(self, seconds: float) -> float:
        """Return units a second of the latest call."""
        return self.units / seconds

    def tune(self) -> None:
        """Choose what the reference leaves open, to its favour."""

    def note(self, line: Line) -> str:
        """Return what a reader of the line should know."""
        return ""

    def cells(self, n: int) -> AnnData:
        """Return ``n`` cells of the file, or a few."""
        return self.settings.draw(FEW if self.few else n)
