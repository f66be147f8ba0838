"""What a long scan has found so far, on disk, so that the same call goes on where it was stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

EVERY_SECONDS = 20.0
"""Least time between two writes."""


class Checkpoint:
    """A file that holds the results of the first blocks of a scan; ``key``: a hash of all that they depend on."""

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path, self.key, self._written = Path(path), key, time.monotonic()
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(f"checkpoint={str(path)!r}: there is no folder {self.path.parent}; make it first.")

    def load(self) -> tuple[int, list[np.ndarray]]:
        """Return how many blocks are done, and the arrays saved; 0 and none where there is no file."""
        if not self.path.exists():
            return 0, []
        advice = "Name another file by checkpoint=, or delete it."
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                key, done = str(saved["key"]), int(saved["done"])
                arrays = [saved[f"array{number}"] for number in range(int(saved["n_arrays"]))]
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ValueError(f"{self.path} is no checkpoint of a scan ({error}). {advice}") from error
        if key != self.key:
            raise ValueError(
                f"{self.path} holds the beginning of another scan: its cells, genes, model or options differ from "
                f"this call's. {advice}"
            )
        return done, arrays

    def save(self, done: int, arrays: list[np.ndarray]) -> None:
        """Write the state after ``done`` blocks, whole or not at all; nothing where the last write is recent."""
        if time.monotonic() - self._written < EVERY_SECONDS:
            return
        part = self._partial
        named = {f"array{number}": array for number, array in enumerate(arrays)}
        with part.open("wb") as file:
            np.savez(file, key=self.key, done=done, n_arrays=len(arrays), **named)  # type: ignore[arg-type]
        part.replace(self.path)
        self._written = time.monotonic()

    def clear(self) -> None:
        """Delete the file, once the results are where they belong."""
        for path in (self.path, self._partial):
            path.unlink(missing_ok=True)

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")
