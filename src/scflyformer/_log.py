"""Messages and progress bars, governed by `scanpy.settings.verbosity`; scanpy loads with the first message."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def warning(message: str) -> None:
    """Log at verbosity 1: something that the user should look at, though the work went on."""
    _log("warning", message)


def info(message: str) -> None:
    """Log at verbosity 2: what was done."""
    _log("info", message)


def hint(message: str) -> None:
    """Log at verbosity 3: details and advice."""
    _log("hint", message)


def _log(level: str, message: str) -> None:
    """Log by scanpy, to where standard error goes now: scanpy keeps the stream that it found when it was imported."""
    from scanpy import logging, settings

    logfile = settings.logfile
    redirected = logfile is sys.__stderr__ and sys.stderr is not logfile and sys.stderr is not None
    if redirected:
        settings.logfile = sys.stderr
    try:
        getattr(logging, level)(message)
    finally:
        if redirected:
            settings.logfile = logfile


def verbosity() -> int:
    """Verbosity in force: 0 errors, 1 warnings, 2 infos, 3 hints, 4 debug."""
    from scanpy import settings

    return int(settings.verbosity)


def _is_watched() -> bool:
    """Whether a person sees the bar move: a terminal or a notebook, not the log file of a script."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def each(items: Sequence[T], *, desc: Callable[[T], str], **tqdm: Any) -> Iterator[T]:
    """Go through items beside a bar whose words, ``desc(item)``, say which is at work; ``tqdm`` as for `progress`."""
    with progress(total=len(items), desc=desc(items[0]) if items else None, **tqdm) as bar:
        for item in items:
            bar.set_description(desc(item), refresh=_is_watched())
            yield item
            bar.update()


def progress(
    iterable: Iterable[T] | None = None,
    *,
    total: int | None = None,
    desc: str | None = None,
    shown: bool = True,
    **tqdm: Any,
) -> Any:
    """Wrap an iterable in a `tqdm.auto` bar, with options of tqdm, that is shown from verbosity 1 on.

    Without an iterable the caller moves the bar with ``update(n)``. A display that fails gives way to a text bar.
    """
    import warnings

    options: dict[str, Any] = {
        "total": total,
        "desc": desc,
        "disable": not (shown and verbosity() >= 1),
        "leave": False,
        "mininterval": 0.1 if _is_watched() else 10,
    } | tqdm
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns where a notebook lacks ipywidgets
        from tqdm import tqdm as plain
        from tqdm.auto import tqdm as auto
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return auto(iterable, **options)
    except Exception:  # a bar must never stop the work
        return plain(iterable, **options)
