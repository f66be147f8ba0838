"""Peak memory of a call, in a process of its own: resident memory beyond what was resident before the call.

Before the call, cells and networks are there, and a call on a few cells has loaded what the first call loads. The peak
is what `lib.processes` says. Processes are forked from one that has imported what all need.
"""

from __future__ import annotations

import gc
import multiprocessing
from typing import TYPE_CHECKING

from scflyformer.network._memory import hand_back

from ..lib.processes import peak_mb, start_peak

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from .part import Part
    from .settings import Settings

PRELOADED = ["scanpy", "sklearn.linear_model", "torch", "transformers.trainer", "scflyformer.network._infer"]


def peak_beyond(work: Callable[[], object]) -> float:
    """Return by how much a call's peak exceeds what was resident before it, MB."""
    gc.collect()
    hand_back()  # or a call would fill freed memory unseen
    before = start_peak()
    work()
    return peak_mb() - before


def _answer(pipe: Connection, make: Callable[..., Part], settings: Settings, side: str) -> None:
    for few in (True, False):
        part = make(settings, few=few)
        part.setup()
        peak = peak_beyond(lambda part=part: part.call(side))
        part.teardown()
    pipe.send(peak)


def peak_memory(make: Callable[..., Part], settings: Settings, side: str) -> float:
    """Return the peak of one way of a part, MB; NaN where its process fails."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, make, settings, side))
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        return float("nan")
    finally:
        process.join()
