"""From sources to the token store, the vocabulary and the split."""

from __future__ import annotations

import re
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from scflyformer import _log
from scflyformer.data._chunks import CellScales, row_chunks
from scflyformer.data._scale_report import warn
from scflyformer.genes._resolve import N_EXAMPLES, resolve_genes
from scflyformer.genes._vocabulary import Vocabulary
from scflyformer.training._extend import extend_vocabulary
from scflyformer.training._medians import combine_medians, rounded, source_medians
from scflyformer.training._store import CountWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scflyformer.genes._resolve import Resolution
    from scflyformer.genes._synonyms import SynonymTable
    from scflyformer.training._sources import CorpusRequest, Source
    from scflyformer.training._store import TokenStore

_ANNOTATION_ID = re.compile(r"C[GR]\d+")
"""What FlyBase calls a gene that has no name yet, and some files every gene."""


def build_store(
    sources: list[Source],
    folder: Path,
    request: CorpusRequest,
    *,
    vocabulary: Vocabulary | None,
) -> tuple[TokenStore, Vocabulary, np.ndarray]:
    """Write the token store in one pass over the sources; return it, the vocabulary, and the sample of each cell.

    An existing ``vocabulary`` (``init=``) keeps its genes and medians; otherwise both come from the corpus.
    """
    if vocabulary is None:
        names = np.setdiff1d(np.concatenate([source.gene_ids for source in sources]), [""])
        indices = [pd.Index(names).get_indexer(source.gene_ids) for source in sources]
    else:
        names, indices = _match_genes(sources, vocabulary, add=request.new_genes == "add")
    panels = np.zeros((len(sources), len(names)), dtype=bool)
    n_obs = sum(source.adata.n_obs for source in sources)
    with CountWriter(folder) as writer, _log.progress(total=n_obs, desc="reading cells", unit="cell") as bar:
        for number, (source, index) in enumerate(zip(sources, indices, strict=True)):
            panels[number, index[index >= 0]] = True
            scales, n_read = [], 0
            try:
                for counts, read_as in row_chunks(source.adata, layer=request.layer, index=index, n_genes=len(names)):
                    writer.append(counts[source.used[n_read : n_read + counts.shape[0]]], number)
                    scales.append(read_as)
                    n_read += counts.shape[0]
                    bar.update(counts.shape[0])
            except ValueError as error:
                raise ValueError(f"{source.name}: {error}") from error
            read = CellScales.concatenate(scales)
            warn(f"{source.name}: ", source.adata, read, layer=request.layer, genes=np.flatnonzero(index >= 0))
        counts = writer.finish()
    keep = np.arange(len(names))
    if vocabulary is None or len(names) > vocabulary.n_genes:
        found = [source_medians(counts, number, len(names)) for number in range(len(sources))]
        medians, n_cells = np.stack([pair[0] for pair in found]), np.stack([pair[1] for pair in found])
        if vocabulary is None:
            vocabulary, keep = _new_vocabulary(sources, names, medians, n_cells, request.min_cells)
        else:
            new = names[vocabulary.n_genes :]
            vocabulary, keep = extend_vocabulary(
                vocabulary, new, _symbols(sources, new), medians=medians, n_cells=n_cells, min_cells=request.min_cells
            )
            added = vocabulary.names[len(names) - len(new) :]
            _log.info(f"{len(added)} of {len(new)} further genes are added to the vocabulary{_such_as(added)}")
    store = counts.rank(keep, vocabulary.medians, panels[:, keep])
    return store, vocabulary, np.concatenate([source.samples[source.used] for source in sources])


def _new_vocabulary(
    sources: list[Source], names: np.ndarray, medians: np.ndarray, n_cells: np.ndarray, min_cells: int
) -> tuple[Vocabulary, np.ndarray]:
    """Return the vocabulary of the genes that enough cells express, and their positions in ``names``."""
    seen = n_cells.sum(0)
    keep = np.flatnonzero(seen >= min_cells)
    if not len(keep):
        n_all = sum(int(source.used.sum()) for source in sources)
        raise ValueError(
            f"No gene is expressed in min_cells={min_cells} cells of the corpus ({n_all} cells, {len(names)} genes). "
            "Lower min_cells or give more cells."
        )
    vocabulary = Vocabulary(
        gene_ids=names[keep],
        symbols=_symbols(sources, names)[keep],
        medians=rounded(combine_medians(medians, n_cells)[keep]),
        n_cells=seen[keep],
        synonyms=np.full(len(keep), ""),
    )
    return vocabulary, keep


def _match_genes(sources: list[Source], vocabulary: Vocabulary, *, add: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the vocabulary's genes, with ``add`` those it lacks behind them, and which of them each column is."""
    found = [_resolved(source, vocabulary) for source in sources]
    strange = [np.where(each.unknown & add, source.gene_ids, "") for each, source in zip(found, sources, strict=True)]
    new = np.setdiff1d(np.concatenate(strange), [""])
    at = [pd.Index(new).get_indexer(names) for names in strange]
    indices = [np.where(own >= 0, own + vocabulary.n_genes, each.index) for own, each in zip(at, found, strict=True)]
    return np.concatenate([vocabulary.gene_ids, new]), indices


def _resolved(source: Source, vocabulary: Vocabulary) -> Resolution:
    """Return what the columns of a source are in ``vocabulary``."""
    found = resolve_genes(source.gene_ids, vocabulary)
    if found.n_mapped <= found.n_case:  # those that match may do so by luck
        raise ValueError(
            f"{source.name}: {found.n_mapped or 'none'} of its genes (such as {', '.join(found.unresolved[:3])}) match "
            f"the vocabulary of the model (such as {', '.join(vocabulary.names[:3])}); {found.n_case} "
            "differ from it by case only. Pass another gene_key or another model."
        )
    _log.info(f"{source.name}: {found.n_mapped} of {len(found.index)} genes are in the model's vocabulary")
    return found


def _such_as(names: np.ndarray) -> str:
    return f", such as {', '.join(names[:N_EXAMPLES])}" if len(names) else ""


def _symbols(sources: list[Source], names: np.ndarray) -> np.ndarray:
    """Return the symbol of each gene named: the first source decides that names it by more than an annotation id."""
    place = pd.Index(names)
    symbols = np.full(len(place), "", dtype=object)
    for last in (True, False):
        for source in reversed(sources):
            used = [bool(symbol) and (last or not _ANNOTATION_ID.fullmatch(symbol)) for symbol in source.symbols]
            index = place.get_indexer(np.where(used, source.gene_ids, ""))
            symbols[index[index >= 0]] = source.symbols[index >= 0]
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

    ``samples`` are ``"source:sample"`` of each cell, empty where not known. ``validation`` is the share of cells to
    hold out, reached with samples drawn at random, or the names of samples. Return training cells, held-out cells, and
    the unit of the split: ``"sample"`` or ``"cell"``.
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
