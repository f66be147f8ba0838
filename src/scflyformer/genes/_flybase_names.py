"""Current names and former ids of fly genes, from the table of FlyBase that ships with the package."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary

_TABLE = Path(__file__).with_name("flybase_names.tsv.gz")


class FlyBaseNames:
    """Finds vocabulary genes by FlyBase's symbols, annotation ids and former ids; none without FBgn ids.

    A gene whose current id the vocabulary lacks is found where the vocabulary has one of its former ids.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        ids = {name: gene for gene, name in enumerate(vocabulary.gene_ids.tolist()) if name.startswith("FBgn")}
        self._genes = _table() if ids else {}
        self._places: dict[str, int] = {}
        for name, gene in ids.items():
            if name in self._genes:  # a former id
                current = self._genes[name]
                self._places[current] = -1 if current in self._places else gene
        self._places |= ids

    def find(self, name: str) -> int:
        """Return the vocabulary gene of a name, -1 where there is none."""
        return self._places.get(self._genes.get(name, name), -1)


@cache
def _table() -> dict[str, str]:
    """Return the current id of each name; a name of two genes is not among them."""
    _, _, *lines = gzip.decompress(_TABLE.read_bytes()).decode().splitlines()
    return dict(line.split("\t") for line in lines)
