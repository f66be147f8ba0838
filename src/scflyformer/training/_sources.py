"""The sources of a corpus: opened, described and checked, their counts left where they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer import _log
from scflyformer.genes._resolve import repair_mojibake
from scflyformer.genes._spelling import as_words
from scflyformer.training._files import file_hash, object_hash, open_file

if TYPE_CHECKING:
    from anndata import AnnData

SYMBOL_COLUMNS = ("symbol", "gene_symbol", "gene_symbols")
"""Columns of `var` that name genes for people."""


@dataclass(eq=False)
class Source:
    """One object or file of the corpus: the genes it measured and the cells that are used.

    Attributes
    ----------
    gene_ids
        Gene of each column, empty where the column has none, shape (n_vars,).
    symbols
        What people call it, shape (n_vars,).
    used
        Cells that are not excluded, bool, shape (n_obs,).
    samples
        ``"source:sample"`` of each cell, empty where samples are not known, shape (n_obs,).
    record
        What ``provenance.json`` says of it.
    """

    name: str
    adata: AnnData
    gene_ids: np.ndarray
    symbols: np.ndarray
    used: np.ndarray
    samples: np.ndarray
    record: dict[str, Any] = field(default_factory=dict)


@contextmanager
def open_sources(
    given: Sequence[Any],
    *,
    mod: str | None,
    layer: str | None,
    gene_key: str | None,
    exclude: Mapping[str, Sequence[str]],
    sample_key: str | None,
) -> Iterator[list[Source]]:
    """Open objects and paths and check all but their values; files are closed when the block ends.

    Raises
    ------
    FileNotFoundError, KeyError, TypeError, ValueError
        When one cannot be opened, a key is missing, or ``exclude`` names what is not there or leaves nothing.
    """
    from scflyformer.data._adata import open_data

    names: list[str] = []
    sources: list[Source] = []
    with ExitStack() as stack:
        for number, one in enumerate(given):
            path = Path(one).expanduser() if isinstance(one, str | os.PathLike) else None
            name = f"object-{number}" if path is None else path.stem
            names.append(f"{name}-{number}" if name in names else name)
            adata = open_data(one, mod=mod) if path is None else open_file(path, mod=mod, stack=stack)
            source = describe_source(
                names[-1], adata, layer=layer, gene_key=gene_key, exclude=exclude, sample_key=sample_key
            )
            source.record["sha256"] = object_hash(adata, layer) if path is None else file_hash(path)
            sources.append(source)
        _check_excluded(sources, exclude)
        _warn_of_strangers(sources)
        yield sources


def describe_source(
    name: str,
    adata: AnnData,
    *,
    layer: str | None,
    gene_key: str | None,
    exclude: Mapping[str, Sequence[str]],
    sample_key: str | None,
) -> Source:
    """Read genes, used cells and samples of one source, leaving its counts where they are.

    Raises
    ------
    KeyError
        When a key is missing; lists near names.
    ValueError
        When no column has a gene id, a used cell has no sample, or nothing is left after ``exclude``.
    """
    from scflyformer.data._adata import column, gene_names, obs_text, text_of
    from scflyformer.data._matrix import matrix_of

    matrix_of(adata, layer)
    ids = _words(gene_names(adata, gene_key))
    if not (ids != "").any():
        raise ValueError(f"{name}: var[{gene_key!r}] holds no gene ids. Pass another column as gene_key.")
    other = next((key for key in SYMBOL_COLUMNS if key in adata.var and key != gene_key), None)
    symbols = _words(adata.var_names if other is None else column(adata.var, other, place="var"))
    used = np.ones(adata.n_obs, dtype=bool)
    for key, values in exclude.items():
        if key in adata.obs:
            used &= ~np.isin(_texts(adata, key), [text_of(value) for value in values])
    if not used.any():
        raise ValueError(f"{name}: exclude={dict(exclude)!r} leaves none of its {adata.n_obs} cells. Leave it out.")
    samples = np.full(adata.n_obs, "")
    if sample_key is not None:
        told = obs_text(adata, sample_key, what="sample_key")
        n_missing = sum(sample is None for sample in told[used])
        if n_missing:
            raise ValueError(
                f"{name}: obs[{sample_key!r}] is missing for {n_missing} cells. Fill it in, or drop these cells."
            )
        samples = np.array([f"{name}:{sample}" for sample in told], dtype=str)
    record = {"name": name, "n_cells": int(adata.n_obs), "n_used": int(used.sum()), "n_genes": int(adata.n_vars)}
    repaired = np.array([repair_mojibake(symbol) for symbol in symbols.tolist()], dtype=str)
    return Source(name, adata, ids, repaired, used, samples, record)


def _words(names: Iterable[object]) -> np.ndarray:
    """Return names as text; a missing one is empty."""
    return np.array([name or "" for name in as_words(names)], dtype=str)


def _check_excluded(sources: list[Source], exclude: Mapping[str, Sequence[str]]) -> None:
    """Refuse an excluded value that occurs nowhere: a misspelt name would train on cells meant to be kept apart."""
    from scflyformer.data._adata import text_of
    from scflyformer.data._matrix import missing_key

    for key, values in exclude.items():
        holders = [_texts(source.adata, key) for source in sources if key in source.adata.obs]
        if not holders:
            columns = sorted({str(name) for source in sources for name in source.adata.obs})
            raise KeyError(missing_key(key, columns, what="exclude", place="obs"))
        there = sorted({str(text) for holder in holders for text in holder})
        absent = sorted({text_of(value) for value in values} - set(there))
        if absent:
            raise ValueError(f"exclude names {absent} in obs[{key!r}], which no source has; there are {there[:20]}.")


def _texts(adata: AnnData, key: str) -> np.ndarray:
    """Return a column of `obs` as text, a missing value as ``"nan"``."""
    from scflyformer.data._adata import obs_text

    return np.array(["nan" if text is None else text for text in obs_text(adata, key, what="exclude")], dtype=str)


def _warn_of_strangers(sources: list[Source]) -> None:
    """Say where a source shares no gene with the others, as when one names genes by id and another by symbol."""
    for source in sources:
        others = [other.gene_ids for other in sources if other is not source]
        if others and not np.isin(source.gene_ids[source.gene_ids != ""], np.concatenate(others)).any():
            _log.warning(
                f"{source.name} shares no gene with the other sources (its first: {source.gene_ids[:3].tolist()}); "
                "if it names the same genes otherwise, pass the column with common ids as gene_key."
            )
