"""What the parts beside Geneformer share: its process, the files that it reads, and what its process measured."""

from __future__ import annotations

import shutil
from functools import cached_property
from typing import TYPE_CHECKING, Any

import scflyformer as sf

from .deletions import mlm_twin
from .geneformer_files import Size, write_cells, write_dictionaries
from .geneformer_process import Geneformer
from .part import Line, Part

if TYPE_CHECKING:
    from anndata import AnnData

    from .settings import Settings

BATCHES = (100, 10)
"""Its default ``forward_batch_size``, and one more; the fastest counts."""
_OPEN: dict[tuple[Any, ...], Geneformer] = {}


def opened(settings: Settings) -> Geneformer:
    """Return the process of the checkout, which parts share; `close` ends it."""
    assert settings.geneformer is not None
    key = settings.geneformer, settings.work, settings.threads, settings.device
    if key not in _OPEN:
        log = settings.work / "geneformer.log"
        _OPEN[key] = Geneformer(settings.geneformer, log, threads=settings.threads, device=settings.device)
    return _OPEN[key]


def close() -> None:
    """End the processes."""
    while _OPEN:
        _OPEN.popitem()[1].close()


class Beside(Part):
    """Cells in a file that both read. Seconds and memory of the reference are those that its process tells."""

    batch = BATCHES[0]
    tried: dict[int, float] | None = None

    def setup(self) -> None:
        """Make the twin, write cells and dictionaries."""
        super().setup()
        assert self.settings.geneformer is not None
        like = sf.models.load(self.settings.model)
        self.model = mlm_twin(like, self.settings.work / f"twin-{like.sha256[:12]}")
        self.folder = self.settings.work / f"geneformer-{type(self).__name__.lower()}{'-few' if self.few else ''}"
        self.dictionaries = write_dictionaries(self.folder, self.model.vocabulary)
        self.network = self.settings.geneformer.model or self.model.path
        self.size = Size.of(self.network, self.model.vocabulary)
        self.same = self.settings.geneformer.model is None
        adata = self.draw()
        self.names = adata.obs_names.to_numpy(dtype=str)
        self.file = write_cells(self.folder / "cells", adata)
        self.seconds: float | None = None
        self.theirs = 0

    def draw(self) -> AnnData:
        """Return the cells; sets ``units``."""
        adata = self.cells(self.settings.cells)
        self.units = adata.n_obs
        return adata

    def ask(self, way: str, **job: Any) -> dict[str, Any]:
        """Return the reply of the worker; what it writes is in ``folder / way``, without what an earlier call wrote."""
        out = self.folder / way
        shutil.rmtree(out, ignore_errors=True)
        return opened(self.settings).ask(way, out, **self.dictionaries, model=self.network, **job)

    def rank(self) -> dict[str, Any]:
        """Let it rank the cells."""
        return self.ask("tokenize", cells=self.file.parent, max_len=self.size.max_len)

    @cached_property
    def dataset(self) -> str:
        """Its ranked cells on disk."""
        self.rank()
        return str(self.folder / "tokenize" / "cells.dataset")

    def call(self, side: str) -> None:
        """Do it one way."""
        self.seconds = None
        super().call(side)

    def timed(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Keep what the worker measured."""
        self.seconds = reply["seconds"]
        self.peaks["reference"] = max(reply["memory_mb"], self.peaks.get("reference", 0))
        return reply

    def rate(self, seconds: float) -> float:
        """Return units a second; of the reference by its own clock, so that starting a call is not counted."""
        return self.units / seconds if self.seconds is None else (self.theirs or self.units) / self.seconds

    def tune(self) -> None:
        """Let it choose its batch size."""
        self.tried = {}
        for self.batch in BATCHES:
            self.call("reference")
            self.tried[self.batch] = self.rate(0)
        self.batch = max(self.tried, key=self.tried.__getitem__)
        self.peaks.clear()

    def note(self, line: Line) -> str:
        """Return its network, its libraries and its batches."""
        size = self.size
        whose = "the same network" if self.same else "another network"
        said = (
            f"{whose}: {size.n_layers} layers × {size.width}, at most {size.max_len:,} genes; in an environment with "
        )
        said += opened(self.settings).versions
        if not self.tried:
            return said
        rates = ", ".join(f"{batch} ({rate:.1f} {self.what}/s)" for batch, rate in self.tried.items())
        return f"{said}; the fastest of its batches of {rates}"
