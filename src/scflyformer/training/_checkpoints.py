"""What a run that was interrupted goes on from: its last whole checkpoint, and the best weights so far."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import load_model, save_model

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from scflyformer.network._network import CellBert


def replace_weights(module: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write the weights of a module, so that ``path`` holds all of the old ones or all of the new."""
    part = path.with_name(f"{path.name}.part")
    save_model(module, str(part), metadata=metadata)
    part.replace(path)


class BestWeights:
    """Keeps the weights of the step with the lowest held-out loss; the file says which step, and its losses.

    The file is replaced as a whole, and an interrupted run that goes on finds in it what it had found.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[int, dict[str, float]] | None:
        """Return step and held-out losses of the weights kept; None where there are none."""
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata()
        return int(metadata["step"]), json.loads(metadata["losses"])

    def offer(self, network: CellBert, step: int, losses: dict[str, float]) -> None:
        """Keep the weights of ``network`` if their loss is the lowest so far; NaN never is."""
        kept = self.read()
        if losses["loss"] < (float("inf") if kept is None else kept[1]["loss"]):
            replace_weights(network, self.path, {"step": str(step), "losses": json.dumps(losses)})

    def load(self, network: CellBert) -> None:
        """Put the weights kept into ``network``."""
        load_model(network, self.path)


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest whole checkpoint; one that the process died in, whose state is written last, is removed."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.partition("-")[2])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None
