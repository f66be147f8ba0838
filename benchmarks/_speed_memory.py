"""Peak memory of a call, in a process of its own: resident memory beyond what was resident before the call.

Before the call, cells and networks are there, and a call on a few cells has loaded what the first call loads. The peak
is the kernel's own high-water mark of this process (``VmHWM``), set back before the call; where there is none, the
growth of ``ru_maxrss``. Processes are forked from one that has imported what all need.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _speed_settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PRELOADED = ["scanpy", "sklearn.linear_model", "torch", "transformers.trainer", "scflyformer.network._infer"]
STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


def _status(key: str) -> float:
    """Return a line of the process's status, MB."""
    return next(float(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(key)) / 1024


def _max_rss() -> float:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _return_freed() -> None:
    """Give freed memory back to the system where glibc can, so that a call does not fill it unseen."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


def peak_beyond(work: Callable[[], object]) -> float:
    """Return by how much a call's peak exceeds what was resident before it, MB."""
    gc.collect()
    _return_freed()
    try:
        RESET.write_text("5")
    except OSError:
        before = _max_rss()
        work()
        return _max_rss() - before
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def measure(settings: Settings, where: str, name: str, side: str, params: tuple[Any, ...]) -> float:
    """Return the peak of one way of a part, MB.

    Parameters
    ----------
    settings
        Those of the process that asks; the environment may be older.
    where, name
        Module and class.
    side
        The way.
    params
        What asv would give to every method.
    """
    settings.use()
    kind = getattr(import_module(where), name)
    for few in (True, False):
        part = kind()
        part.few = few
        part.setup(*params)
        peak = peak_beyond(lambda part=part: part.call(side)(*params))
        part.teardown(*params)
    return peak


def _answer(pipe: Connection, *asked: Any) -> None:
    pipe.send(measure(*asked))


def peak_memory(kind: type, side: str, params: tuple[Any, ...] = ()) -> float:
    """Return what `measure` finds in a process of its own, MB; NaN where that process fails."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_answer, args=(theirs, Settings.current(), kind.__module__, kind.__name__, side, params)
    )
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        return float("nan")
    finally:
        process.join()
