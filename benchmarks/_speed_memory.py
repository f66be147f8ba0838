"""Peak memory of a call, in a process of its own: resident memory beyond what was resident before the call.

Before the call, cells and networks are there, and a call on a few cells has loaded what the first call loads. The peak
is what `_peak` says. Processes are forked from one that has imported what all need.
"""

from __future__ import annotations

import gc
import multiprocessing
from importlib import import_module
from typing import TYPE_CHECKING, Any

from _peak import peak_mb, start_peak
from _speed_settings import Settings

from scflyformer.network._memory import hand_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PRELOADED = ["scanpy", "sklearn.linear_model", "torch", "transformers.trainer", "scflyformer.network._infer"]


def peak_beyond(work: Callable[[], object]) -> float:
    """Return by how much a call's peak exceeds what was resident before it, MB."""
    gc.collect()
    hand_back()  # or a call would fill freed memory unseen
    before = start_peak()
    work()
    return peak_mb() - before


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
