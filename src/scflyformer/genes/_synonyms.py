"""FlyBase synonym tables: old names and annotation ids of genes, from a file or from the release server."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from scflyformer.genes._files import FLYBASE_RELEASE, fetch_flybase, opened

_URL = "https://s3ftp.flybase.org/releases/{release}/precomputed_files/synonyms/{file}"
_COLUMNS = ("primary_FBid", "organism_abbreviation", "current_symbol", "symbol_synonym(s)")
_NO_NAME = ("", "-")


@dataclass(frozen=True, eq=False)
class SynonymTable:
    """Names of genes from outside the vocabulary."""

    current: dict[str, str]  # current symbol to primary id, where the file tells which symbols are current
    synonyms: dict[str, str]  # any other name to primary id, names of one gene only
    ambiguous: frozenset[str]  # names that belong to two genes and so resolve to none


def read_synonyms(source: str | os.PathLike[str]) -> SynonymTable:
    """Read a synonym table; of a FlyBase file, *D. melanogaster* genes only.

    ``source`` is a FlyBase ``fb_synonym_fb_YYYY_MM.tsv`` (plain or ``.gz``), a plain table of name, tab, gene id (of
    any species), or ``"flybase"`` or a release such as ``"FB2025_01"``, fetched once and kept in the cache folder. The
    error where that fails, a `ConnectionError`, says which file to download and how to pass it.
    """
    if isinstance(source, str) and (source == "flybase" or _is_release(source)):
        source = fetch_synonyms(FLYBASE_RELEASE if source == "flybase" else source)
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No synonym file at {path}. Pass the path of an fb_synonym_fb_YYYY_MM.tsv(.gz) from FlyBase, "
            f"a two-column table name<TAB>gene id, or 'flybase' to fetch release {FLYBASE_RELEASE}."
        )
    current: dict[str, str] = {}
    synonyms: dict[str, str] = {}
    ambiguous: set[str] = set()
    try:
        with opened(path) as lines:
            for gene, name, is_current in _table_entries(lines, path):
                names = current if is_current else synonyms
                if names.setdefault(name, gene) != gene:
                    ambiguous.add(name)
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable text table ({error}); download it again.") from error
    for name in ambiguous:
        current.pop(name, None)
        synonyms.pop(name, None)
    return SynonymTable(current, synonyms, frozenset(ambiguous - set(current)))


def fetch_synonyms(release: str = FLYBASE_RELEASE) -> Path:
    """Return where the synonym file of a FlyBase release such as ``"FB2025_01"`` lies; fetched if not in the cache."""
    file = f"fb_synonym_{release.lower().replace('fb', 'fb_', 1)}.tsv.gz"
    return fetch_flybase(_URL.format(release=release, file=file), argument="synonyms")


def _is_release(source: str) -> bool:
    year, _, month = source.removeprefix("FB").partition("_")
    return source.startswith("FB") and len(year) == 4 and len(month) == 2 and (year + month).isdigit()


def _table_entries(lines: TextIO, path: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield (gene id, name, whether it is the current symbol) of either kind of table."""
    columns: dict[str, int] | None = None
    plain = False
    for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
        if not row or not any(row):
            continue
        if columns is None and not plain:
            heading = [name.strip().lstrip("#").strip() for name in row]
            if set(_COLUMNS) <= set(heading):
                columns = {name: heading.index(name) for name in _COLUMNS}
                continue
            if row[0].startswith("#"):
                continue
            if len(row) != 2:
                raise ValueError(
                    f"{path} has {len(row)} columns {heading[:6]}; expected a FlyBase synonym file with the columns "
                    f"{', '.join(_COLUMNS)}, or two columns name<TAB>gene id."
                )
            plain = True
        if plain:
            yield from _plain_entry(row, path)
        elif columns is not None:
            yield from _flybase_entries(row, columns)


def _plain_entry(row: list[str], path: Path) -> Iterator[tuple[str, str, bool]]:
    if len(row) != 2:
        raise ValueError(f"{path}: the row {row} has {len(row)} columns; expected two, name<TAB>gene id.")
    name, gene = row
    if gene and name not in _NO_NAME:
        yield gene, name, False


def _flybase_entries(row: list[str], columns: dict[str, int]) -> Iterator[tuple[str, str, bool]]:
    cells = [row[columns[name]] if columns[name] < len(row) else "" for name in _COLUMNS]
    gene, organism, symbol, others = cells
    if organism != "Dmel" or not gene.startswith("FBgn"):
        return
    if symbol not in _NO_NAME:
        yield gene, symbol, True
    for name in others.split("|"):
        if name not in _NO_NAME and name != symbol:
            yield gene, name, False
