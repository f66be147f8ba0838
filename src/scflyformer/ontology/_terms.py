"""The terms of FBbt, from the table that ships with the package."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PREFIX = "FBbt:"
CELL = "FBbt:00007002"
"""The term *cell*."""
_TABLE = Path(__file__).with_name("fbbt.tsv.gz")


@dataclass(frozen=True, eq=False)
class Ontology:
    """Terms by id, such as ``"FBbt:00006007"``: name, parents (is_a and part_of), synonyms, number of terms below."""

    release: str
    names: dict[str, str]
    parents: dict[str, tuple[str, ...]]
    synonyms: dict[str, tuple[str, ...]]
    n_below: dict[str, int]

    def ancestors(self, term: str) -> frozenset[str]:
        """Return the term and all terms above it."""
        found, waiting = set(), [term]
        while waiting:
            if (current := waiting.pop()) not in found:
                found.add(current)
                waiting += self.parents[current]
        return frozenset(found)

    def is_cell(self, term: str) -> bool:
        """Whether a term is *cell* or a kind of cell."""
        return CELL in self.ancestors(term)


@cache
def fbbt() -> Ontology:
    """Return FBbt as shipped."""
    text = gzip.decompress(_TABLE.read_bytes()).decode()
    comment, _, *lines = text.splitlines()
    rows = [line.split("\t") for line in lines]
    return Ontology(
        release=comment.split("release ")[1].split(";")[0],
        names={row[0]: row[1] for row in rows},
        n_below={row[0]: int(row[2]) for row in rows},
        parents={row[0]: tuple(row[3].split("|")) if row[3] else () for row in rows},
        synonyms={row[0]: tuple(row[4].split("|")) if row[4] else () for row in rows},
    )
