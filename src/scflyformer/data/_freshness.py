"""Whether a stored embedding still fits the expression that it was made from: a few cells' tokens, kept with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer import _log
from scflyformer.data import _adata
from scflyformer.data._chunks import where
from scflyformer.data._matrix import matrix_of
from scflyformer.data._scale_report import looks_scaled
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.data._reading import Reading
    from scflyformer.models import Model

SAMPLE_CELLS = 60
"""Cells whose tokens are kept, to notice later that the expression has changed."""


def token_sample(adata: AnnData, model: Model, reading: Reading) -> dict[str, np.ndarray]:
    """Return the tokens of up to `SAMPLE_CELLS` cells, as `uns` keeps them with an embedding.

    ``"cells"`` are names, ``"tokens"`` and ``"ends"`` the tokens of all cells and where each cell's end, ``"genes"``
    those that the data measured. All are empty where the few cells cannot be read by themselves. Of lazy data the first
    cells are taken. Where names repeat, all cells of a name are kept, if they are few.
    """
    names = adata.obs_names.astype(str)
    if _adata.is_lazy(adata, reading.layer):
        drawn = np.arange(min(len(names), SAMPLE_CELLS))
    else:
        drawn = np.unique(np.linspace(0, len(names) - 1, SAMPLE_CELLS).astype(int))
    cells = np.flatnonzero(names.isin(names[drawn]))
    if len(cells) > 5 * SAMPLE_CELLS:
        cells = np.flatnonzero(names.isin(names[drawn]) & ~names.duplicated(keep=False))
    try:
        rows = _token_rows(adata, model, cells, reading)
    except (ValueError, KeyError, IndexError):  # a check for later must not cost the embedding
        cells, rows = cells[:0], TokenRows(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    genes = np.empty(0, np.int64) if rows.panel is None else np.flatnonzero(rows.panel)
    return {
        "cells": names[cells].to_numpy(dtype=object),
        "tokens": rows.tokens.astype(np.int32),
        "ends": rows.indptr[1:].astype(np.int64),
        "genes": (genes + N_SPECIAL).astype(np.int32),
    }


def _token_rows(adata: AnnData, model: Model, cells: np.ndarray, reading: Reading) -> TokenRows:
    """Return the tokens of some cells; a `ValueError` where they cannot be read, or look scaled gene by gene."""
    few, layer = few_cells(adata, cells, reading.layer)
    rows, report = _adata.token_rows(
        few, model, replace(reading, layer=layer), with_values=False, progress=False, log_prefix=None
    )
    if report["share_cells_whole_counts"] < 0.5 and looks_scaled(few, layer, np.arange(few.n_vars)):
        raise ValueError("scaled")
    return rows


def _same_order(kept: Mapping[str, Any], names: list[str], rows: TokenRows, max_len: int) -> bool:
    """Whether cells hold the genes that were measured then and are now in the same order as then."""
    ends = np.asarray(kept["ends"], dtype=np.int64)
    before: dict[str, list[np.ndarray]] = {}
    for name, tokens in zip(np.asarray(kept["cells"]).tolist(), np.split(kept["tokens"], ends[:-1]), strict=True):
        before.setdefault(name, []).append(np.asarray(tokens))
    now = np.flatnonzero(rows.panel) + N_SPECIAL if rows.panel is not None else np.asarray(kept["genes"])
    common = np.intersect1d(kept["genes"], now)

    def alike(tokens: np.ndarray, other: np.ndarray) -> bool:
        cut = max(len(tokens), len(other)) >= max_len  # the last genes may be missing on either side
        tokens, other = tokens[np.isin(tokens, common)], other[np.isin(other, common)]
        n = min(len(tokens), len(other))
        return np.array_equal(tokens[:n], other[:n]) and (cut or len(tokens) == len(other))

    lists = np.split(rows.tokens, rows.indptr[1:-1])
    return all(any(alike(tokens, was) for was in before[name]) for name, tokens in zip(names, lists, strict=True))


def few_cells(adata: AnnData, cells: np.ndarray, layer: str | None) -> tuple[AnnData, str | None]:
    """Return some cells, and the layer of them to read; without `obs`, whose repeated columns AnnData cannot cut."""
    if _adata.is_lazy(adata, layer):
        return adata[cells], layer
    if adata.is_view:
        return (adata[cells].to_memory() if adata.isbacked else adata[cells].copy()), layer
    from anndata import AnnData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gene names that repeat are added up
        return AnnData(matrix_of(adata, layer)[cells], var=adata.var), None


def reason_not_to_use(
    adata: AnnData, model: Model, use_rep: str, made: Mapping[str, Any], reading: Reading, *, tool: str
) -> str:
    """Return why an embedding by this model is not the one to use, or an empty text."""
    wanted = {"pooling": model.pooling, "layer": reading.layer, "gene_key": reading.gene_key}
    for name, value in wanted.items():
        if (was := made.get(name, "none")) != (value or "none"):
            return f"it was made with {name}={None if was == 'none' else was!r}"
    kept = adata.uns[use_rep].get("checksum")
    if not isinstance(kept, Mapping):
        return ""
    names = adata.obs_names.astype(str)
    still_there = np.flatnonzero(names.isin(np.asarray(kept["cells"]).tolist()))[: 5 * SAMPLE_CELLS]
    if not len(still_there):
        return ""
    place = where(reading.layer)
    try:
        rows = _token_rows(adata, model, still_there, reading)
    except (ValueError, KeyError, IndexError):
        _log.warning(
            f"{tool}: {place} can no longer be read as the expression that obsm[{use_rep!r}] was made from; the "
            "embedding is used as it is."
        )
        return ""
    except OSError as error:  # the synonym file that it was made with is gone
        _log.warning(
            f"{tool}: whether obsm[{use_rep!r}] still fits {place} could not be checked ({error}); it is used."
        )
        return ""
    same = _same_order(kept, names[still_there].tolist(), rows, model.max_len)
    return "" if same else f"{place} has changed since it was made"
