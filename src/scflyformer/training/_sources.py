"""The sources of a corpus: opened, described, checked and hashed; files are opened without reading their values."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

import numpy as np

from scflyformer import _log
from scflyformer.genes._resolve import repair_mojibake
from scflyformer.genes._spelling import as_words

if TYPE_CHECKING:
    from anndata import AnnData

SYMBOL_COLUMNS = ("symbol", "gene_symbol", "gene_symbols")
"""Columns of `var` that name genes for people."""
_BLOCK = 1 << 24


@dataclass(frozen=True, kw_only=True)
class CorpusRequest:
    """Which cells and genes a run learns from; as the arguments of :func:`scflyformer.tl.pretrain`.

    It is written with a run's checkpoints, so that only the same run is resumed; ``synonyms`` is the name of a file.
    With a ``recipe`` the columns that it reads are made where a source lacks them.
    """

    exclude: Mapping[str, Sequence[str]] = field(default_factory=dict)
    validation: float | Sequence[str] = 0.05
    sample_key: str | None = None
    layer: str | None = None
    gene_key: str | None = None
    mod: str | None = None
    min_cells: int = 10
    new_genes: Literal["add", "ignore"] = "add"
    synonyms: str | None = None
    recipe: str | None = None


class SourceRecord(TypedDict):
    """What ``provenance.json`` says of a source."""

    name: str
    n_cells: int
    n_used: int
    n_genes: int
    sha256: NotRequired[str]


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
    """

    name: str
    adata: AnnData
    gene_ids: np.ndarray
    symbols: np.ndarray
    used: np.ndarray
    samples: np.ndarray
    record: SourceRecord


@contextmanager
def open_sources(given: Sequence[Any], request: CorpusRequest) -> Iterator[list[Source]]:
    """Open objects and paths and check all but their values; files are closed when the block ends."""
    from scflyformer.data._adata import open_data

    names: list[str] = []
    sources: list[Source] = []
    with ExitStack() as stack:
        for number, one in enumerate(given):
            path = Path(one).expanduser() if isinstance(one, str | os.PathLike) else None
            name = f"object-{number}" if path is None else path.stem
            names.append(f"{name}-{number}" if name in names else name)
            adata = open_data(one, mod=request.mod) if path is None else open_file(path, mod=request.mod, stack=stack)
            source = describe_source(names[-1], adata, request)
            source.record["sha256"] = object_hash(adata, request.layer) if path is None else file_hash(path)
            sources.append(source)
        _check_excluded(sources, request.exclude)
        _warn_without_shared_genes(sources)
        yield sources


def describe_source(name: str, adata: AnnData, request: CorpusRequest) -> Source:
    """Read genes, used cells and samples of one source, leaving its counts where they are."""
    from scflyformer.data._adata import column, gene_names, obs_text, text_of
    from scflyformer.data._matrix import matrix_of

    gene_key, sample_key = request.gene_key, request.sample_key
    matrix_of(adata, request.layer)
    made = {} if request.recipe is None else _made_columns(name, adata, request)
    ids = made["gene_key"] if "gene_key" in made else _names_as_text(gene_names(adata, gene_key))
    if not (ids != "").any():
        raise ValueError(f"{name}: var[{gene_key!r}] holds no gene ids. Pass another column as gene_key.")
    other = next((key for key in SYMBOL_COLUMNS if key in adata.var and key != gene_key), None)
    symbols = _names_as_text(adata.var_names if other is None else column(adata.var, other, place="var"))
    used = np.ones(adata.n_obs, dtype=bool)
    for key, values in request.exclude.items():
        if key in adata.obs:
            used &= ~np.isin(_column_text(adata, key), [text_of(value) for value in values])
    if not used.any():
        raise ValueError(
            f"{name}: exclude={dict(request.exclude)!r} leaves none of its {adata.n_obs} cells. Leave it out."
        )
    samples = np.full(adata.n_obs, "")
    if sample_key is not None:
        names = made["sample_key"] if "sample_key" in made else obs_text(adata, sample_key, what="sample_key")
        n_missing = sum(sample is None for sample in names[used])
        if n_missing:
            raise ValueError(
                f"{name}: obs[{sample_key!r}] is missing for {n_missing} cells. Fill it in, or drop these cells."
            )
        samples = np.array([f"{name}:{sample}" for sample in names], dtype=str)
    record: SourceRecord = {
        "name": name,
        "n_cells": int(adata.n_obs),
        "n_used": int(used.sum()),
        "n_genes": int(adata.n_vars),
    }
    repaired = np.array([repair_mojibake(symbol) for symbol in symbols.tolist()], dtype=str)
    return Source(name, adata, ids, repaired, used, samples, record)


def _made_columns(name: str, adata: AnnData, request: CorpusRequest) -> dict[str, np.ndarray]:
    """Return the genes and samples of a recipe's columns that a source lacks, as `sf.datasets.afca` would make them."""
    from scflyformer.data._atlas import flybase_ids, libraries

    made: dict[str, np.ndarray] = {}
    if request.gene_key == "FBgn" and "FBgn" not in adata.var:
        made["gene_key"], said = flybase_ids(adata.var)
        _log.info(f"{name}: {said}")
    if request.sample_key == "batch" and "batch" not in adata.obs:
        made["sample_key"], said = libraries(adata)
        _log.info(f"{name}: samples, which are held out whole, by {said}")
    return made


def _names_as_text(names: Iterable[object]) -> np.ndarray:
    """Return names as text; a missing one is empty."""
    return np.array([name or "" for name in as_words(names)], dtype=str)


def _check_excluded(sources: list[Source], exclude: Mapping[str, Sequence[str]]) -> None:
    """Refuse an excluded value that occurs nowhere: a misspelt name would train on cells meant to be kept apart."""
    from scflyformer.data._adata import text_of
    from scflyformer.data._matrix import missing_key

    for key, values in exclude.items():
        holders = [_column_text(source.adata, key) for source in sources if key in source.adata.obs]
        if not holders:
            columns = sorted({str(name) for source in sources for name in source.adata.obs})
            raise KeyError(missing_key(key, columns, what="exclude", place="obs"))
        there = sorted({str(text) for holder in holders for text in holder})
        absent = sorted({text_of(value) for value in values} - set(there))
        if absent:
            raise ValueError(f"exclude names {absent} in obs[{key!r}], which no source has; there are {there[:20]}.")


def _column_text(adata: AnnData, key: str) -> np.ndarray:
    """Return a column of `obs` as text, a missing value as ``"nan"``."""
    from scflyformer.data._adata import obs_text

    return np.array(["nan" if text is None else text for text in obs_text(adata, key, what="exclude")], dtype=str)


def _warn_without_shared_genes(sources: list[Source]) -> None:
    """Say where a source shares no gene with the others, as when one names genes by id and another by symbol."""
    for source in sources:
        others = [other.gene_ids for other in sources if other is not source]
        if others and not np.isin(source.gene_ids[source.gene_ids != ""], np.concatenate(others)).any():
            _log.warning(
                f"{source.name} shares no gene with the other sources (its first: {source.gene_ids[:3].tolist()}); "
                "if it names the same genes otherwise, pass the column with common ids as gene_key."
            )


def open_file(path: Path, *, mod: str | None, stack: ExitStack) -> AnnData:
    """Open an h5ad file or a zarr store, or a modality of an h5mu; `X` and layers stay on disk until ``stack`` ends."""
    from scflyformer.data._adata import open_data
    from scflyformer.data._matrix import missing_key

    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; give the path of an h5ad file or a zarr store.")
    try:
        group = _open_group(path, stack)
        if group.attrs.get("encoding-type") != "MuData":
            return open_data(_open_lazily(group, path, stack), mod=mod)
        names = list(group["mod"])
        if mod in names:
            return open_data(_open_lazily(group["mod"][mod], path, stack))
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a readable h5ad file or zarr store ({type(error).__name__}: {error}). "
            "Give a file that anndata.read_h5ad or anndata.read_zarr opens."
        ) from error
    if mod is None:
        raise ValueError(f"{path} holds a MuData; name the modality with counts by mod=, one of {names}.")
    raise KeyError(missing_key(mod, names, what="mod", place="mod"))


def _open_group(path: Path, stack: ExitStack) -> Any:
    if path.is_dir():
        import zarr

        return zarr.open_group(path, mode="r")
    import h5py

    return stack.enter_context(h5py.File(path, "r"))


def _open_lazily(group: Any, path: Path, stack: ExitStack) -> AnnData:
    import anndata
    from anndata.io import read_elem

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are not unique, or no text, are the user's affair
        if group.attrs.get("encoding-type") != "anndata":  # written before anndata 0.8
            adata = anndata.read_h5ad(path, backed="r")
            stack.callback(adata.file.close)
            return adata
        layers = {name: _lazy(group["layers"][name]) for name in group.get("layers", ())}
        return anndata.AnnData(
            X=_lazy(group["X"]) if "X" in group else None,
            obs=read_elem(group["obs"]),
            var=read_elem(group["var"]),
            layers={name: layer for name, layer in layers.items() if layer is not None},
        )


def _lazy(stored: Any) -> Any:
    """Return a matrix on disk as AnnData takes it; None for what is no matrix."""
    from anndata.io import sparse_dataset

    if stored.attrs.get("encoding-type") in ("csr_matrix", "csc_matrix"):
        return sparse_dataset(stored)
    return stored if len(getattr(stored, "shape", ())) == 2 else None


def file_hash(path: Path) -> str:
    """Return the sha256 of a file, or of all files of a store with their names."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def object_hash(adata: AnnData, layer: str | None) -> str:
    """Return the sha256 of the names and values of an object in memory; a change of sparse format changes it."""
    from scflyformer.data._matrix import raw_chunks

    digest = hashlib.sha256("\0".join([*map(str, adata.var_names), *map(str, adata.obs_names)]).encode())
    for rows in raw_chunks(adata, layer):
        for part in rows:
            digest.update(part.tobytes())
    return digest.hexdigest()
