"""From AnnData objects and files to the token store and the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer._chunks import row_chunks
from scflyformer.genes._vocabulary import Vocabulary
from scflyformer.training._medians import combine_medians, source_medians
from scflyformer.training._store import CountWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData

    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.training._store import TokenStore


@dataclass(eq=False)
class Source:
    """One object or file of the corpus: the genes it measured and the cells that are used."""

    name: str
    adata: AnnData
    gene_ids: np.ndarray
    symbols: np.ndarray
    used: np.ndarray
    samples: np.ndarray
    record: dict[str, Any] = field(default_factory=dict)


def describe_source(
    name: str,
    adata: AnnData,
    *,
    gene_key: str | None,
    exclude: Mapping[str, Sequence[str]],
    sample_key: str | None,
) -> Source:
    """Read genes, used cells and samples of one source, leaving its counts where they are.

    Raises
    ------
    KeyError, ValueError
        When a key is missing, or nothing is left after ``exclude``.
    """
    from scflyformer._adata import gene_names, obs_column

    ids = gene_names(adata, gene_key).astype(str)
    if gene_key is None:
        column = next((key for key in ("symbol", "gene_symbol", "gene_symbols") if key in adata.var), None)
        symbols = ids if column is None else adata.var[column].to_numpy(dtype=str)
    else:
        symbols = adata.var_names.to_numpy(dtype=str)
    used = np.ones(adata.n_obs, dtype=bool)
    for key, values in exclude.items():
        if key in adata.obs:
            used &= ~adata.obs[key].astype(str).isin([str(value) for value in values]).to_numpy()
    if not used.any():
        raise ValueError(f"{name}: exclude={dict(exclude)!r} leaves none of its {adata.n_obs} cells. Leave the file out.")
    samples = np.full(adata.n_obs, "")
    if sample_key is not None:
        samples = name + ":" + obs_column(adata, sample_key, what="sample_key").astype(str).to_numpy(dtype=object)
    record = {"name": name, "n_cells": int(adata.n_obs), "n_used": int(used.sum()), "n_genes": int(adata.n_vars)}
    return Source(name, adata, ids, symbols, used, np.asarray(samples, dtype=str), record)


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
    names = vocabulary.gene_ids if vocabulary is not None else np.unique(np.concatenate([s.gene_ids for s in sources]))
    place = pd.Index(names)
    panels = np.zeros((len(sources), len(names)), dtype=bool)
    writer = CountWriter(folder)
    for number, source in enumerate(sources):
        index = place.get_indexer(source.gene_ids)
        panels[number, index[index >= 0]] = True
        for start, counts in row_chunks(source.adata, layer=layer, index=index, n_genes=len(names)):
            writer.append(counts[source.used[start : start + counts.shape[0]]], number)
    counts = writer.close()
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


def _symbols(sources: list[Source], place: pd.Index) -> np.ndarray:
    """Return the symbol of each corpus gene: the first source that measured it names it."""
    symbols = np.full(len(place), "", dtype=object)
    for source in reversed(sources):
        symbols[place.get_indexer(source.gene_ids)] = source.symbols
    return symbols.astype(str)


def add_synonyms(vocabulary: Vocabulary, table: SynonymTable) -> Vocabulary:
    """Return the vocabulary with every name the table gives its genes beside id and symbol, sorted."""
    names: dict[str, list[str]] = {gene: [] for gene in vocabulary.gene_ids.tolist()}
    primary = names.keys() | set(vocabulary.symbols.tolist())
    for name, gene in (table.current | table.synonyms).items():
        if gene in names and name not in primary and "|" not in name:
            names[gene].append(name)
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
    random = np.random.default_rng(seed)
    names, index = np.unique(samples, return_inverse=True)
    unit = "sample" if len(names) > 1 else "cell"
    if isinstance(validation, float | int):
        if not 0 < validation < 1:
            raise ValueError(f"validation={validation} must be a share between 0 and 1, or a list of samples.")
        index = index if unit == "sample" else np.arange(len(samples))
        sizes = np.bincount(index)
        order = random.permutation(len(sizes))
        n_held = max(int(np.searchsorted(np.cumsum(sizes[order]), validation * len(samples), "right")), 1)
        held = np.isin(index, order[:n_held])
    else:
        bare = np.array([name.partition(":")[2] for name in names])
        absent = sorted(set(validation) - set(names) - set(bare))
        if absent:
            raise ValueError(f"validation names samples that are not there: {absent}; there are {names.tolist()}.")
        held = (np.isin(names, validation) | np.isin(bare, validation))[index]
    if held.all() or not held.any():
        raise ValueError(f"The split leaves {int((~held).sum())} cells to train on and {int(held.sum())} held out.")
    return np.flatnonzero(~held), np.flatnonzero(held), unit
