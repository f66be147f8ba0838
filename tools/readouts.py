"""Readouts as they ship: tensors, a JSON file and a card, without the model that they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scflyformer.models._shipped import TENSORS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def write_readout(folder: Path, file: str, content: str, tensors: dict[str, np.ndarray], card: str) -> None:
    """Write a readout without its model into a new folder: what `save_head` wrote, less the network."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file({name: value for name, value in sorted(tensors.items())}, folder / TENSORS)
    (folder / TENSORS).chmod(0o644)  # safetensors writes for the owner alone
    (folder / file).write_text(content, encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")
