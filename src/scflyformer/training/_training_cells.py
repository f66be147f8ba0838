"""The list of training cells of a pretrained or adapted model, from its token store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.models._manifest import CellSet, Manifest, Use

if TYPE_CHECKING:
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.training._store import TokenStore

_CHUNK_CELLS = 16_384


def manifest_of(
    store: TokenStore, names: Sequence[str], vocabulary: Vocabulary, before: Manifest | None, *, use: Use
) -> Manifest:
    """Return the cells of a store, one set a source, behind those of the model that training started from.

    ``names`` are those of the sources. Cells that were held out for the loss are among them: they chose the weights.
    """
    known = before or Manifest.new(vocabulary)
    keys = known.keys(vocabulary)

    def chunks(source: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        cells = np.flatnonzero(store.source == source)
        for start in range(0, len(cells), _CHUNK_CELLS):
            rows = store.rows(cells[start : start + _CHUNK_CELLS])
            yield rows.indptr, rows.tokens - N_SPECIAL

    return known.add(
        CellSet.of(name, use, partial(chunks, source), keys, store.panels[source]) for source, name in enumerate(names)
    )
