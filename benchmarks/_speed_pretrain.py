"""Speed of the pretraining loop beside a plain `transformers.Trainer`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from _speed_part import Line, Part
from _speed_settings import DATA_SET

import scflyformer as sf


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
        import transformers
        from training_speed import Loop, Stopwatch, make_store
        from transformers import trainer

        super().setup()
        transformers.logging.set_verbosity_error()
        trainer.DEFAULT_CALLBACKS.append(Stopwatch)
        vocabulary = sf.models.load(self.settings.model).vocabulary
        self.scratch = tempfile.TemporaryDirectory()
        self.n_tokens = vocabulary.n_tokens
        quick = {"n_layers": 2, "batch_tokens": 2048, "steps": 1} if self.settings.quick or self.few else {"steps": 4}
        self.loop = Loop(device=self.settings.device, **quick)
        n_cells = self.settings.some(1000, 100)
        folder = Path(self.scratch.name, "store")
        self.store = make_store(self.settings.folder(n_cells), folder, vocabulary, n_cells, sets=[DATA_SET])
        self.units = self.loop.steps * self.loop.batch_tokens

    def teardown(self) -> None:
        """Take the stopwatch away and empty the folder."""
        from training_speed import Stopwatch
        from transformers import trainer

        trainer.DEFAULT_CALLBACKS.remove(Stopwatch)
        self.scratch.cleanup()

    def run(self, *how: str) -> None:
        """Train, by the plain loop or by the package's with an objective and a number type."""
        from training_speed import ours, plain

        with tempfile.TemporaryDirectory(dir=self.scratch.name) as folder:
            train: Any = ours if how else plain
            train(self.store, self.n_tokens, self.loop, Path(folder), *how)

    def time_ours(self) -> None:
        """Train as the article does, float32."""
        self.run("mlm", "float32")

    def time_bfloat16(self) -> None:
        """Train as the article does, bfloat16."""
        self.run("mlm", "bfloat16")

    def time_cell(self) -> None:
        """Train with the default objective, which reads more of a cell."""
        self.run("cell", "float32")

    def time_reference(self) -> None:
        """Train with the plain loop."""
        self.run()

    def rate(self, side: str, seconds: float) -> float:
        """Return genes a second by the stopwatch, from the end of the first steps on."""
        from training_speed import Stopwatch

        assert Stopwatch.latest is not None
        return Stopwatch.latest.speed()["wall"]

    def note(self, line: Line) -> str:
        """Return the sizes."""
        loop = self.loop
        return (
            f"{loop.steps} steps of about {loop.batch_tokens:,} genes after 2 untimed, {loop.n_layers} layers × "
            f"{loop.hidden_size}, random cells, only genes count"
        )
