"""Gene names as other programs leave them: cleaned, or read as the one gene that they can stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

_BYTES = re.compile(r"b(['\"])(.+)\1")
_QUOTED = re.compile(r"(['\"])(.+)\1")
_ID = re.compile(r"([A-Za-z]+)\d{5,}")
"""A gene id within a longer name: letters and many digits, such as ``FBgn0003996`` or ``ENSG00000141510``."""
SEPARATORS = (r"\|", r"::", ";", ",", r"\s+", "__")
"""What joins the parts of a name; none of them occurs in a name of FlyBase."""
_JOINED = re.compile("|".join(SEPARATORS))
_VERSION = re.compile(r"\.\d+")
_ENDS = "-_.:/"
_R_WORDS = frozenset("if else repeat while function for next break TRUE FALSE NULL Inf NaN NA in".split())
_MISSING = "nan"
"""The text that a missing value turns into, and a fly gene."""


def as_words(names: Iterable[object]) -> np.ndarray:
    """Return gene names as text, object, `None` where they are missing or empty.

    Bytes (also those that were turned into the text ``b'…'``), quotes around a name and blanks at its ends are taken
    off. The fly gene *nan* stays; where the text "nan" occurs more than once, or with "nan-1", as repeated names are
    made unique, it stands for missing values.
    """
    words = [as_word(name) for name in names]
    if words.count(_MISSING) > 1 or {f"{_MISSING}-1", f"{_MISSING}.1"} & set(words):
        words = [word if word != _MISSING else "" for word in words]
    out = np.empty(len(words), dtype=object)
    out[:] = [word or None for word in words]
    return out


def as_word(name: object) -> str:
    """Return a name as text, cleaned as for `as_words`; a missing one is the empty string."""
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    elif not isinstance(name, str):
        return "" if pd.isna(name) else str(name)
    word = name.strip().strip("\ufeff\u200b")
    for wrapped in (_BYTES, _QUOTED):
        if match := wrapped.fullmatch(word):
            word = match[2].strip()
    return word


def r_spellings(name: str) -> set[str]:
    """Return how R's ``make.names`` and Seurat write a name, where they change it."""
    dotted = re.sub(r"[^\w.]", ".", name)
    made = {dotted, name.replace("_", "-")}
    if re.match(r"[\d_]|\.\d", dotted):
        made.add(f"X{dotted}")
    if name in _R_WORDS:
        made.add(f"{name}.")
    return made - {name}


def all_r_spellings(lookups: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the spellings of `r_spellings` of all known names to their gene; -1 where they could be two genes."""
    genes: dict[str, int] = {}
    for lookup in lookups:
        for name, gene in lookup.items():
            for spelling in r_spellings(name):
                genes[spelling] = gene if genes.get(spelling, gene) == gene else -1
    return genes


def only_gene(word: str, ids: Mapping[str, int], spellings: Mapping[str, int], find: Callable[[str], int]) -> int:
    """Return the one gene that an unknown name can stand for, else -1.

    That is the gene whose id alone stands in the name, with a version (``FBgn0003996.1``), another part that names no
    other gene (``FBgn0003996|w``), or its own name (``FBgn0003996-w``); else the gene that all parts name; else the
    gene whose name R would write so. ``ids`` are primary ids to genes, ``spellings`` those by R; ``find`` gives the
    gene of a name.
    """
    parts = [part for part in _JOINED.split(word) if part]
    inside = {match.group(): match[1] for match in _ID.finditer(word)}
    known = [name for name in inside if name in ids]
    if len(known) == 1 and list(inside.values()).count(inside[known[0]]) == 1:
        gene = ids[known[0]]
        rest = word.replace(known[0], "", 1)
        others = {find(part) for part in parts if part != known[0]} - {-1}
        name = rest.strip(_ENDS)
        if _VERSION.fullmatch(rest) or (known[0] in parts and others <= {gene}):
            return gene
        if find(name) == gene or spellings.get(name, -1) == gene:
            return gene
    if len(parts) > 1:
        genes = {find(part) for part in parts}
        if len(genes) == 1:
            return genes.pop()
    return spellings.get(word, -1)
