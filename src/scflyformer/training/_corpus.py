"""From sources to the token store, the vocabulary and the split."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer._chunks import row_chunks
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import Vocabulary
from scflyformer.training._medians import combine_medians, source_medians
from scflyformer.training._store import CountWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.training._sources import Source
    from scflyformer.training._store import TokenStore


def build_store(
    sources: list[Source],
    folder: Path,
    *,
    layer: str | None,
    min_cells: int,
    vocabulary: Vocabulary | None,
) -> tuple[TokenStore, Vocabulary, np.ndarray]:
    """Write the token store in one pass over the sources.

    Parameters
    ----------
    min_cells
        Genes that fewer corpus cells express are left out of a new vocabulary.
    vocabulary
        An existing vocabulary to keep (``init=``); otherwise genes and medians come from the corpus.

    Returns
    -------
    The store, the vocabulary, and the sample of each stored cell.
    """
    ids = [source.gene_ids for source in sources]
    names = vocabulary.gene_ids if vocabulary is not None else np.setdiff1d(np.concatenate(ids), [""])
    place = pd.Index(names)
    panels = np.zeros((len(sources), len(names)), dtype=bool)
    n_obs = sum(source.adata.n_obs for source in sources)
    with CountWriter(folder) as writer, _log.progress(total=n_obs, desc="reading cells", unit="cell") as bar:
        for number, source in enumerate(sources):
            index = place.get_indexer(source.gene_ids) if vocabulary is None else _resolved(source, vocabulary)
            panels[number, index[index >= 0]] = True
            try:
                for start, counts in row_chunks(source.adata, layer=layer, index=index, n_genes=len(names)):
                    writer.append(counts[source.used[start : start + counts.shape[0]]], number)
                    bar.update(counts.shape[0])
            except ValueError as error:
                raise ValueError(f"{source.name}: {error}") from error
        counts = writer.finish()
    if vocabulary is None:
        found = [source_medians(counts, number, len(names)) for number in range(len(sources))]
        medians = combine_medians(np.stack([pair[0] for pair in found]), np.stack([pair[1] for pair in found]))
        n_cells = np.sum([pair[1] for pair in found], axis=0)
        keep = np.flatnonzero(n_cells >= min_cells)
        if not len(keep):
            raise ValueError(
                f"No gene is expressed in min_cells={min_cells} cells of the corpus "
                f"({len(counts)} cells, {len(names)} genes). Lower min_cells or give more cells."
            )
        vocabulary = Vocabulary(
            gene_ids=names[keep],
            symbols=_symbols(sources, place)[keep],
            medians=np.array([float(f"{median:.6g}") for median in medians[keep]], dtype=np.float32),
            n_cells=n_cells[keep],
            synonyms=np.full(len(keep), ""),
        )
    else:
        keep = np.arange(len(names))
    store = counts.rank(keep, vocabulary.medians, panels[:, keep])
    return store, vocabulary, np.concatenate([source.samples[source.used] for source in sources])


def _resolved(source: Source, vocabulary: Vocabulary) -> np.ndarray:
    """Return the gene of ``vocabulary`` that each column of a source is, -1 where none."""
    found = resolve_genes(source.gene_ids, vocabulary)
    if not found.n_mapped:
        raise ValueError(
            f"{source.name}: none of its genes (such as {', '.join(found.unresolved[:3])}) is in the vocabulary of the "
            f"model to go on from (such as {', '.join(vocabulary.names[:3])}). Pass another gene_key, or no init."
        )
    _log.info(f"{source.name}: {found.n_mapped} of {len(found.index)} genes are in the model's vocabulary")
    return found.index


def _symbols(sources: list[Source], place: pd.Index) -> np.ndarray:
    """Return the symbol of each corpus gene: the first source that names it decides."""
    symbols = np.full(len(place), "", dtype=object)
    for source in reversed(sources):
        known = (source.gene_ids != "") & (source.symbols != "")
        symbols[place.get_indexer(source.gene_ids[known])] = source.symbols[known]
    return symbols.astype(str)


def add_synonyms(vocabulary: Vocabulary, table: SynonymTable) -> Vocabulary:
    """Return the vocabulary with every name the table gives its genes beside id, symbol and known synonyms, sorted."""
    genes, known = vocabulary.gene_ids.tolist(), vocabulary.synonyms.tolist()
    names = {gene: set(joined.split("|")) - {""} for gene, joined in zip(genes, known, strict=True)}
    primary = names.keys() | set(vocabulary.symbols.tolist())
    for name, gene in (table.current | table.synonyms).items():
        if gene in names and name not in primary and "|" not in name:
            names[gene].add(name)
    joined = ["|".join(sorted(found)) for found in names.values()]
    return replace(vocabulary, synonyms=np.array(joined, dtype=str))


def split_samples(
    samples: np.ndarray, validation: float | Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Hold out whole samples; single cells where samples are not known.

    Parameters
    ----------
    samples
        ``"source:sample"`` of each cell, empty where not known, shape (n_cells,).
    validation
        The share of cells to hold out, reached with samples drawn at random, or the names of the samples.

    Returns
    -------
    Training cells, held-out cells, and the unit of the split: ``"sample"`` or ``"cell"``.

    Raises
    ------
    ValueError
        When a named sample does not exist, or nothing is left on one side.
    """
    names, index = np.unique(samples, return_inverse=True)
    unit = "sample" if len(names) > 1 else "cell"
    if isinstance(validation, Real):
        share = float(validation)
        if not 0 < share < 1:
            raise ValueError(f"validation={validation} must be a share above 0 and below 1, or a list of samples.")
        index = index if unit == "sample" else np.arange(len(samples))
        sizes = np.bincount(index)
        order = np.random.default_rng(seed).permutation(len(sizes))
        n_held = max(int(np.searchsorted(np.cumsum(sizes[order]), share * len(samples), "right")), 1)
        held = np.isin(index, order[:n_held])
    else:
        wanted = list(cast("Sequence[str]", validation))
        if not samples[0]:
            raise ValueError(f"validation={wanted} names samples; pass the column that holds them as sample_key.")
        bare = np.array([name.partition(":")[2] for name in names])
        absent = sorted(set(wanted) - set(names) - set(bare))
        if absent:
            raise ValueError(f"validation names samples that are not there: {absent}; there are {names.tolist()}.")
        held = (np.isin(names, wanted) | np.isin(bare, wanted))[index]
    if held.all() or not held.any():
        raise ValueError(
            f"validation={validation!r} leaves {int((~held).sum())} cells to train on and holds {int(held.sum())} out, "
            f"of {len(samples)} cells in {len(names)} sample(s); both need some."
        )
    return np.flatnonzero(~held), np.flatnonzero(held), unit
