"""The most memory that this process has held; needs nothing beyond Python."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

RESET = Path("/proc/self/clear_refs")


def _status_mb(field: str) -> float | None:
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
    held = _status_mb("VmRSS:")
    return peak_mb() if held is None else held


def peak_mb() -> float:
    """Return the most memory held by this process since `start_peak`, in MB.

    Linux hands ``ru_maxrss`` of the parent on to the processes it starts, so it is read only where there is no /proc.
    """
    peak = _status_mb("VmHWM:")
    if peak is not None:
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
