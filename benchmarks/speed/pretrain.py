"""Speed of the pretraining loop beside a plain `transformers.Trainer`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import transformers
from transformers import trainer

import scflyformer as sf

from .part import Line, Part
from .plain_trainer import WARM_UP, Loop, Stopwatch, make_store, ours, plain


class Pretrain(Part):
    """A few steps on random cells; rates leave the first steps out."""

    what = "genes"
    lines = (
        Line("mlm, float32"),
        Line("mlm, bfloat16", ours="bfloat16"),
        Line("the default objective, float32", ours="cell"),
    )

    def setup(self) -> None:
        """Rank cells into a store, and let every trainer carry a stopwatch."""
        super().setup()
        transformers.logging.set_verbosity_error()
        trainer.DEFAULT_CALLBACKS.append(Stopwatch)
        vocabulary = sf.models.load(self.settings.model).vocabulary
        self.scratch = tempfile.TemporaryDirectory()
        self.n_tokens = vocabulary.n_tokens
        quick = {"n_layers": 2, "batch_tokens": 2048, "steps": 1} if self.settings.quick or self.few else {}
        self.loop = Loop(device=self.settings.device, **quick)
        cells = self.settings.file(self.settings.some(1000, 100))
        self.store = make_store(cells, Path(self.scratch.name, "store"), vocabulary)

    def teardown(self) -> None:
        """Take the stopwatch away and empty the folder."""
        trainer.DEFAULT_CALLBACKS.remove(Stopwatch)
        self.scratch.cleanup()

    def ours(self, objective: str = "mlm", dtype: str = "float32") -> None:
        """Train as the article does, float32."""
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as folder:
            ours(self.store, self.n_tokens, self.loop, Path(folder), objective, dtype)

    def bfloat16(self) -> None:
        """Train as the article does, bfloat16."""
        self.ours(dtype="bfloat16")

    def cell(self) -> None:
        """Train with the default objective, which reads more of a cell."""
        self.ours("cell")

    def reference(self) -> None:
        """Train with the plain loop."""
        with tempfile.TemporaryDirectory(dir=self.scratch.name) as folder:
            plain(self.store, self.n_tokens, self.loop, Path(folder))

    def rate(self, seconds: float) -> float:
        """Return genes a second by the stopwatch, from the end of the first steps on."""
        assert Stopwatch.latest is not None
        return Stopwatch.latest.rate()

    def note(self, line: Line) -> str:
        """Return the sizes."""
        loop = self.loop
        return (
            f"{loop.steps} steps of about {loop.batch_tokens:,} genes after {WARM_UP} untimed, {loop.n_layers} layers "
            f"× {loop.hidden_size}, random cells, only genes count"
        )
