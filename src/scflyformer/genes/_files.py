"""Files with tables of genes: fetched from FlyBase's release server, opened whether packed or plain."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from scflyformer._settings import settings

FLYBASE_RELEASE = "FB2025_01"
"""Release fetched where none is named."""


def fetch_flybase(url: str, *, argument: str) -> Path:
    """Return where a file of FlyBase lies in the cache folder; fetched if it is not there.

    The error where that fails, a `ConnectionError`, says which file to download and to pass as ``argument``.
    """
    import pooch

    file, folder = url.rsplit("/", 1)[1], Path(settings.cache_folder) / "flybase"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=file, path=folder))
    except Exception as error:
        raise ConnectionError(
            f"Could not fetch {url} ({type(error).__name__}: {error}). Download that file on a machine with network "
            f"access and pass its path as `{argument}`, or put it at {folder / file}."
        ) from error
    finally:
        logger.setLevel(level)


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """Open a text file, packed by gzip or not, whatever its name."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if packed:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            yield lines
    else:
        with open(path, encoding="utf-8", newline="") as lines:
            yield lines
