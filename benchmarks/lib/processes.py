"""Processes of their own: how they are called, and the most memory that one has held; needs nothing beyond Python."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Where `benchmarks` is found."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
RESET = Path("/proc/self/clear_refs")


def environment(threads: int | None = None) -> dict[str, str]:
    """Return the variables of a process that finds `benchmarks` and uses so many threads."""
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    limits = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | limits


def output_of(command: list[str], *, threads: int | None = None) -> str:
    """Return what a command prints, run by whatever Python; raise with the end of its errors where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(threads))
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def status_mb(field: str) -> float | None:
    """Return a field of Linux's account of this process, such as ``"RssAnon:"``, in MB; `None` where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)


def start_peak() -> float:
    """Return the memory held now, in MB, after forgetting the peak so far; where that cannot be, the peak so far."""
    try:
        RESET.write_text("5")
    except OSError:
        return peak_mb()
    held = status_mb("VmRSS:")
    return peak_mb() if held is None else held


def peak_mb() -> float:
    """Return the most memory held by this process since `start_peak`, in MB.

    Linux hands ``ru_maxrss`` of the parent on to the processes it starts, so it is read only where there is no /proc.
    """
    peak = status_mb("VmHWM:")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
