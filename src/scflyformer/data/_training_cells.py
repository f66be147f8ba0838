"""Cells of an object against the cells that a model was trained on, and the training sets that an object makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.data._chunks import expressed_genes
from scflyformer.data._gene_names import match_genes, model_reference
from scflyformer.models._manifest import CellSet, Manifest, Use
from scflyformer.tokens._fingerprints import fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

    from scflyformer.data._reading import Reading
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models import Model

P_VALUE = 1e-4
"""Probability of so many matches by chance, below which a set counts as seen."""
MOST_MISSING = 4
"""Genes of a set that cells may lack: each is tried as expressed and as not, which doubles the matches by chance."""


@dataclass(frozen=True, eq=False)
class SetMatches:
    """What of an object is in a training set.

    Attributes
    ----------
    compared, matched
        Cells that have a fingerprint for the set, and those whose fingerprint is in it, bool, shape (n_obs,).
    n_missing
        Genes of the set that the object lacks.
    chance
        Probability that a cell that was not there matches.
    """

    set: CellSet
    compared: np.ndarray
    matched: np.ndarray
    n_missing: int
    chance: float

    @property
    def n_compared(self) -> int:
        """Cells compared."""
        return int(self.compared.sum())

    @property
    def n_matched(self) -> int:
        """Cells that match."""
        return int(self.matched.sum())

    @property
    def expected(self) -> float:
        """Matches expected by chance where no cell was seen."""
        return self.n_compared * self.chance

    @property
    def seen(self) -> bool:
        """Whether matches are more than chance explains."""
        from scipy.special import bdtrc

        return self.n_matched > 0 and float(bdtrc(self.n_matched - 1, self.n_compared, self.chance)) < P_VALUE

    @property
    def share(self) -> float:
        """Share of the cells compared that were in the set, matches by chance taken off; NaN without cells."""
        if not self.n_compared:
            return float("nan")
        return max((self.n_matched / self.n_compared - self.chance) / (1 - self.chance), 0.0)

    @property
    def verdict(self) -> str:
        """What it means, in words."""
        if self.n_missing > MOST_MISSING:
            n_genes = len(self.set.genes)
            return f"cannot be told: {self.n_missing} of the {n_genes} genes that tell its cells apart are missing"
        if not self.n_compared or not len(self.set.values):
            return "cannot be told: cells express too few, or all, of the genes that tell its cells apart"
        if self.seen:
            return f"seen: {self.share:.1%} of the cells"
        return "not seen: no more matches than by chance"


def compare(adata: AnnData, manifest: Manifest, model: Model, reading: Reading) -> list[SetMatches]:
    """Return the matches of an object's cells with each training set; ``model`` is the one whose genes they name."""
    sets, vocabulary = manifest.sets, model.vocabulary
    if not sets:
        return []
    reference = model_reference(model)
    resolved = match_genes(adata, vocabulary, gene_key=reading.gene_key, synonyms=reading.synonyms, model=reference)
    index = resolved.index
    keys, chosen = manifest.keys(vocabulary), [each.genes for each in sets]
    measured, wanted = (np.zeros(vocabulary.n_genes, dtype=bool) for _ in range(2))
    measured[index[index >= 0]] = wanted[np.concatenate(chosen)] = True
    index = np.where((index >= 0) & wanted[index], index, -1)
    parts = [
        fingerprints(indptr, genes, keys, chosen)
        for indptr, genes in expressed_genes(adata, layer=reading.layer, index=index, n_genes=len(keys))
    ]
    sums, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    return [
        _match(each, sums[:, at], counts[:, at], keys[each.genes[~measured[each.genes]]])
        for at, each in enumerate(sets)
    ]


def _match(cells: CellSet, sums: np.ndarray, counts: np.ndarray, missing: np.ndarray) -> SetMatches:
    """Return the matches with a set; ``missing`` are the keys of its genes that were not measured."""
    matched = np.zeros(len(sums), dtype=bool)
    if len(missing) > MOST_MISSING:
        return SetMatches(cells, matched, matched, len(missing), 0.0)
    added = np.zeros(1, dtype=np.uint64)
    for key in missing:
        added = np.concatenate([added, added + key])
    for more in added:
        matched |= cells.holds(sums + more)
    return SetMatches(cells, counts, matched & counts, len(missing), 1 - (1 - cells.chance) ** len(added))


def seen_cells(matches: Sequence[SetMatches], n_obs: int) -> np.ndarray:
    """Return which cells match a set that counts as seen, bool, shape (n_obs,)."""
    found = np.zeros(n_obs, dtype=bool)
    for each in matches:
        if each.seen:
            found |= each.matched
    return found


@dataclass(frozen=True, eq=False)
class UsedCells:
    """Cells of an object that something was learnt from.

    Attributes
    ----------
    used
        Which cells, bool, shape (n_obs,).
    """

    adata: AnnData
    used: np.ndarray
    reading: Reading

    def as_set(
        self, manifest: Manifest, vocabulary: Vocabulary, *, name: str, use: Use, bits: int = 16
    ) -> CellSet | None:
        """Return them as a training set of a manifest; `None` where the values are no expression."""
        asked, n_genes = self.reading, vocabulary.n_genes
        try:
            found = match_genes(self.adata, vocabulary, gene_key=asked.gene_key, synonyms=asked.synonyms).index
            measured = np.zeros(n_genes, dtype=bool)
            measured[found[found >= 0]] = True
            keys = manifest.keys(vocabulary)
            return CellSet.of(name, use, lambda: self._chunks(found, n_genes), keys, measured, bits=bits)
        except (ValueError, KeyError):  # such as scaled values, where the embedding is used as it is
            return None

    def _chunks(self, index: np.ndarray, n_genes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        start = 0
        for indptr, genes in expressed_genes(self.adata, layer=self.reading.layer, index=index, n_genes=n_genes):
            lengths = np.diff(indptr)
            keep = self.used[start : start + len(lengths)]
            start += len(lengths)
            yield np.concatenate([[0], np.cumsum(lengths[keep])]), genes[np.repeat(keep, lengths)]
