"""The embedding that a call works on: which model made it, whether it still fits the data, and a new one where not."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer import _log
from scflyformer._settings import settings
from scflyformer.data import _adata
from scflyformer.data._chunks import where
from scflyformer.data._matrix import matrix_of, missing_key
from scflyformer.data._scale_report import looks_scaled
from scflyformer.data._vectors import embed_cells
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.models import Model

EMBEDDING_KEY = "X_scflyformer"
SAMPLE_CELLS = 60
"""Cells whose tokens are kept, to notice later that the expression has changed."""


def made_by(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `uns` says about how `obsm[use_rep]` was made; empty where there is none or it says nothing."""
    found = adata.uns.get(use_rep) if use_rep in adata.obsm else None
    return dict(found.get("params", {})) if isinstance(found, Mapping) else {}


def choose_model(adata: AnnData, model: str | os.PathLike[str] | None, *, use_rep: str = EMBEDDING_KEY) -> Model | None:
    """Return the model that a call runs: the one named, else the one that made `obsm[use_rep]`, else the default one.

    Parameters
    ----------
    adata
        The cells.
    model
        A name, a folder, or `None`.
    use_rep
        Key of `obsm`.

    Returns
    -------
    The model; `None` where `obsm[use_rep]` is to be used as it stands: it names no model, or none that can be opened.

    Raises
    ------
    KeyError
        When there is no `obsm[use_rep]` and that is not the default name; lists near names.
    """
    from scflyformer import models

    if use_rep not in adata.obsm:
        if use_rep != EMBEDDING_KEY:
            raise KeyError(missing_key(use_rep, list(adata.obsm), what="use_rep", place="obsm"))
        loaded = models.load(settings.model if model is None else model)
        if model is None and (others := [key for key in adata.obsm if "model_sha256" in made_by(adata, key)]):
            _log.warning(
                f"runs model {loaded.name!r} (settings.model), as there is no obsm[{use_rep!r}]; for the embedding in "
                f"obsm[{others[0]!r}] and its model, pass use_rep={others[0]!r}."
            )
        return loaded
    made = made_by(adata, use_rep)
    if model is not None:
        as_it_stands = use_rep != EMBEDDING_KEY and "model_sha256" not in made
        return None if as_it_stands else _as_made(models.load(model), made)
    if "model_sha256" not in made:
        return None
    names = [made.get("model_folder"), made.get("model"), settings.model]
    for name in dict.fromkeys(str(name) for name in names if name):
        try:
            loaded = models.load(name)
        except (ValueError, RuntimeError, OSError):  # its numbers are as good without the model at hand
            continue
        if loaded.sha256 == made["model_sha256"]:
            return _as_made(loaded, made)
    return None


def _as_made(model: Model, made: Mapping[str, Any]) -> Model:
    """Return the model, embedding by the profile code alone where an embedding of its own was made so."""
    code = made.get("pooling") == "code" and made.get("model_sha256") == model.sha256
    return replace(model, reads_code=True) if code else model


def reading_of(adata: AnnData, model: Any, use_rep: str, asked: Reading) -> Reading:
    """Return what to read: the layer and gene column asked for, else those that the embedding in use was made from.

    Without ``model`` that is `obsm[use_rep]`; a layer or column that is gone is not asked for.
    """
    made, layer, gene_key = made_by(adata, use_rep) if model is None else {}, asked.layer, asked.gene_key
    if layer is None and made.get("layer") in adata.layers:
        layer = str(made["layer"])
        _log.info(f"reading layers[{layer!r}], which obsm[{use_rep!r}] was made from")
    if gene_key is None and made.get("gene_key") in adata.var:
        gene_key = str(made["gene_key"])
    return replace(asked, layer=layer, gene_key=gene_key)


def require_model(loaded: Model | None, use_rep: str, *, what: str) -> Model:
    """Return the model; an error where ``what`` needs one and that of `obsm[use_rep]` is not at hand."""
    if loaded is None:
        raise ValueError(
            f"{what} needs the model that made obsm[{use_rep!r}], and uns[{use_rep!r}] names none that can be opened. "
            "Pass it by model=, embed the cells with sf.tl.embed, or, for an embedding without a model, leave it out."
        )
    return loaded


def note_other_model(adata: AnnData, loaded: Model, use_rep: str, *, tool: str) -> None:
    """Say that another model runs than the one that made `obsm[use_rep]`."""
    made = made_by(adata, use_rep)
    if "model_sha256" in made and made["model_sha256"] != loaded.sha256:
        _log.warning(f"{tool}: runs model {loaded.name!r}; obsm[{use_rep!r}] was made by model {made.get('model')!r}.")


def embedding(
    adata: AnnData,
    model: Model | None,
    reading: Reading,
    running: Running,
    *,
    use_rep: str = EMBEDDING_KEY,
    sha256: str | None = None,
    tool: str = "embedding",
    **bar: Any,
) -> np.ndarray:
    """Return the cells' embedding: `obsm[use_rep]` where this model made it from the same values, else a new one.

    That an embedding is there and another one is made is logged at verbosity 1.

    Parameters
    ----------
    adata
        The cells.
    model
        The model; `None` takes `obsm[use_rep]` as it stands.
    reading
        What to read; what is not named is as the embedding in `obsm` was made from.
    running
        How the network runs.
    use_rep
        Where an embedding may lie.
    sha256
        Hash that counts as this model's beside its own: that of the model it was derived from.
    tool
        Name of the calling function, for the log.
    bar
        ``log_prefix`` and ``desc`` as for `scflyformer.data._vectors.embed_cells`.

    Returns
    -------
    Float32, shape (n_obs, width), not to be changed; zeros for a cell without tokens.
    """
    if model is None:
        return given_embedding(adata, use_rep)
    made = made_by(adata, use_rep)
    if use_rep in adata.obsm:
        of_model = made.get("model_sha256") in {model.sha256, sha256} - {None}
        if of_model:
            open_ = [name for name, value in vars(reading).items() if value is None]
            reading = replace(reading, **{name: made[name] for name in open_ if made.get(name, "none") != "none"})
        reason = _why_not(adata, model, use_rep, made, reading, tool=tool) if of_model else _other_origin(made)
        if not reason:
            _log.hint(f"using the embedding in .obsm[{use_rep!r}]")
            return given_embedding(adata, use_rep)
        _log.warning(
            f"{tool}: obsm[{use_rep!r}] is not used, since {reason}; the cells are embedded anew by "
            f"model {model.name!r}."
        )
    return embed_cells(adata, model, reading, running, pooling=model.pooling, **bar)[0]


def given_embedding(adata: AnnData, use_rep: str) -> np.ndarray:
    """Return `obsm[use_rep]`, float32, read-only.

    Raises
    ------
    KeyError
        When it is not there; lists near names.
    ValueError
        When it is not a matrix of finite numbers.
    """
    if use_rep not in adata.obsm:
        raise KeyError(missing_key(use_rep, list(adata.obsm), what="use_rep", place="obsm"))
    found = adata.obsm[use_rep]
    found = np.asarray(found.toarray() if sparse.issparse(found) else found)
    if found.dtype.kind == "O" and all(isinstance(value, int | float | np.number) for value in found.ravel()):
        found = found.astype(np.float64)
    if found.dtype.kind not in "fiub" or found.ndim != 2 or not np.isfinite(found).all():
        raise ValueError(
            f"obsm[{use_rep!r}] holds NaN or infinite values or is no matrix of numbers (type {found.dtype}, shape "
            f"{found.shape}); expected finite numbers, cells × dimensions."
        )
    values = np.array(found, dtype=np.float32, copy=found.dtype != np.float32).view()
    values.flags.writeable = False
    return values


def untrained(adata: AnnData, model: Model, reading: Reading, running: Running, *, seed: int) -> np.ndarray:
    """Return the embedding by a network of the model's configuration with random weights, pooled in the same way.

    Parameters
    ----------
    adata
        The cells.
    model
        The model.
    reading, running
        What to read, and how the network runs.
    seed
        Seed of the weights; the state of the global generators is left as it was.
    """
    import torch

    from scflyformer.network._network import CellBert
    from scflyformer.network._randomness import own_randomness

    with own_randomness():
        torch.manual_seed(seed)
        network = CellBert(deepcopy(model.network().config))
    changed = model.with_network(network)
    said: dict[str, Any] = {"log_prefix": None, "desc": "untrained network"}
    return embed_cells(adata, changed, reading, running, pooling=model.pooling, **said)[0]


def token_sample(adata: AnnData, model: Model, reading: Reading) -> dict[str, np.ndarray]:
    """Return the tokens of up to `SAMPLE_CELLS` cells, as `uns` keeps them with an embedding.

    Of lazy data the first cells are taken. Where names repeat, all cells of a name are kept, if they are few.

    Returns
    -------
    ``"cells"``: names; ``"tokens"`` and ``"ends"``: tokens of all cells, and where each cell's end; ``"genes"``: those
    that the data measured. Empty where the few cells cannot be read by themselves.
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
    """Return the tokens of some cells.

    Raises
    ------
    ValueError
        When they cannot be read, or look scaled gene by gene.
    """
    few, layer = _few_cells(adata, cells, reading.layer)
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

    def alike(one: np.ndarray, other: np.ndarray) -> bool:
        cut = max(len(one), len(other)) >= max_len  # the last genes may be missing on either side
        one, other = one[np.isin(one, common)], other[np.isin(other, common)]
        n = min(len(one), len(other))
        return np.array_equal(one[:n], other[:n]) and (cut or len(one) == len(other))

    lists = np.split(rows.tokens, rows.indptr[1:-1])
    return all(any(alike(tokens, was) for was in before[name]) for name, tokens in zip(names, lists, strict=True))


def _few_cells(adata: AnnData, cells: np.ndarray, layer: str | None) -> tuple[AnnData, str | None]:
    """Return some cells, and the layer of them to read; without `obs`, whose repeated columns AnnData cannot cut."""
    if _adata.is_lazy(adata, layer):
        return adata[cells], layer
    if adata.is_view:
        return (adata[cells].to_memory() if adata.isbacked else adata[cells].copy()), layer
    from anndata import AnnData

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gene names that repeat are added up
        return AnnData(matrix_of(adata, layer)[cells], var=adata.var), None


def _other_origin(made: Mapping[str, Any]) -> str:
    return f"it was made by model {made.get('model')!r}" if "model_sha256" in made else "it names no model"


def _why_not(
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
    there = np.flatnonzero(names.isin(np.asarray(kept["cells"]).tolist()))[: 5 * SAMPLE_CELLS]
    if not len(there):
        return ""
    place = where(reading.layer)
    try:
        rows = _token_rows(adata, model, there, reading)
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
    same = _same_order(kept, names[there].tolist(), rows, model.max_len)
    return "" if same else f"{place} has changed since it was made"
