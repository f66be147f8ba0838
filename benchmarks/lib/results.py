"""Results of benchmarks: what each holds, and the files that keep them."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .resamples import Resamples

VERSION = 3
"""Counts up when a kept result is no longer what the code would compute."""


def described(
    metrics: dict[str, np.ndarray], draws: Resamples, libraries: np.ndarray, n_train: int, note: str
) -> dict[str, Any]:
    """Return a view's metrics beside what they were measured on, as JSON takes it."""
    return {
        "metrics": {name: np.round(values, 6).tolist() for name, values in metrics.items()},
        "n_train": n_train,
        "n_test": len(libraries),
        "n_libraries": len(np.unique(libraries)),
        "resampled": draws.unit,
        "split": note,
    }


def result_file(work: Path, task: str, column: str, key: str) -> Path:
    """Return where a result is kept."""
    name = re.sub(r"[^\w.+-]+", "_", f"{task}--{column}--{key}-v{VERSION}")
    return work / "results" / f"{name}.json"


def kept(file: Path, make: Callable[[], dict[str, Any]], said: str) -> dict[str, Any]:
    """Return what a file holds; where there is none, make it, time it, keep it, and say so."""
    if not file.exists():
        begin = time.perf_counter()
        result = make()
        seconds = round(time.perf_counter() - begin, 1)
        save(file, result | {"seconds": seconds})
        print(f"[{said}, {seconds:.0f} s]", file=sys.stderr, flush=True)
    return json.loads(file.read_text())


def save(file: Path, content: Any) -> None:
    """Write JSON, all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(file)
