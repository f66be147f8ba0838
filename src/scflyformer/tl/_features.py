"""What readouts are fitted on: embeddings, expression and depth, and how cells are dealt to folds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scflyformer import _adata, _log
from scflyformer._chunks import CountChunk, GeneMap, map_counts
from scflyformer._matrix import missing_key
from scflyformer._settings import DEFAULT_MODEL
from scflyformer.stats._linear import column_moments
from scflyformer.stats._splits import cell_folds, sample_folds
from scflyformer.tl._vectors import embed_cells

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from scflyformer.models import Model

EMBEDDING_KEY = "X_scflyformer"
MAX_GENES = 4000
"""Genes an expression readout takes at most: the most variable ones, chosen without labels or ages."""


def pooling_of(model: Model) -> Literal["cell", "mean"]:
    """Return the pooling that readouts use: the cell token, or the mean for a model that has none."""
    return "cell" if model.has_cell_token else "mean"


def contrast_columns(model: Model) -> slice:
    """Return which columns of the embedding tell kinds of cells apart best: the contrast part, or all without one."""
    size = int(model.config.get("code_size", 0)) if model.has_cell_token else 0
    return slice(-size, None) if size else slice(None)


def embedding(
    adata: AnnData,
    model: Model,
    *,
    use_rep: str = EMBEDDING_KEY,
    sha256: str | None = None,
    layer: str | None,
    gene_key: str | None,
    device: str,
    dtype: str,
    batch_tokens: Any,
    **bar: Any,
) -> np.ndarray:
    """Return the cells' embedding: `obsm[use_rep]` where this model made it in the same way, else computed here.

    Parameters
    ----------
    adata
        The cells.
    model
        The model.
    use_rep
        Where an embedding may lie.
    sha256
        Hash that counts as this model's beside its own: that of the model it was derived from.
    layer, gene_key, device, dtype, batch_tokens
        As for :func:`scflyformer.tl.embed`.
    bar
        ``told`` and ``desc`` as for `scflyformer.tl._vectors.embed_cells`.

    Returns
    -------
    Float32, shape (n_obs, width); zeros for a cell without tokens.
    """
    pooling = pooling_of(model)
    made = made_by(adata, use_rep)
    same = {"model_sha256": (model.sha256, sha256), "pooling": (pooling,), "layer": (layer or "none",)}
    same["gene_key"] = (gene_key or "none",)
    if use_rep in adata.obsm and all(made.get(name) in wanted for name, wanted in same.items()):
        _log.hint(f"using the embedding in .obsm[{use_rep!r}]")
        return np.asarray(adata.obsm[use_rep], dtype=np.float32)
    road: dict[str, Any] = {"layer": layer, "gene_key": gene_key, "pooling": pooling, "batch_tokens": batch_tokens}
    return embed_cells(adata, model, device=device, dtype=dtype, **road, **bar)[0]


def untrained(adata: AnnData, model: Model, *, seed: int, **road: Any) -> np.ndarray:
    """Return the embedding by a network of the model's configuration with random weights, pooled in the same way.

    Parameters
    ----------
    adata
        The cells.
    model
        The model.
    seed
        Seed of the weights; the state of torch's generator is left as it was.
    road
        As for :func:`embedding`, which says what is returned.
    """
    import torch

    from scflyformer.network._network import CellBert

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = CellBert(deepcopy(model.network().config))
    return embedding(adata, model.with_network(network), told=None, desc="untrained network", **road)


def given_or_computed(
    adata: AnnData, use_rep: str, model: str | os.PathLike[str], *, needed: bool = True, **road: Any
) -> tuple[Model | None, np.ndarray | None]:
    """Return the embedding in `obsm[use_rep]`, whichever model made it, else one computed by ``model``.

    Parameters
    ----------
    adata
        The cells.
    use_rep
        Key of `obsm`.
    model
        What computes the embedding where there is none under the default key. A model other than the default one also
        replaces an embedding of another model.
    needed
        Whether the embedding is wanted; otherwise only the model is returned.
    road
        As for :func:`embedding`.

    Returns
    -------
    The model, `None` where the embedding does not name one that can be opened, and the embedding.

    Raises
    ------
    KeyError
        When there is no `obsm[use_rep]` and that is not the default name; lists near names.
    ValueError
        When the embedding given is not a matrix of finite numbers.
    """
    from scflyformer import models

    if use_rep not in adata.obsm and use_rep != EMBEDDING_KEY:
        raise KeyError(missing_key(use_rep, list(adata.obsm), what="use_rep", place="obsm"))
    made = made_by(adata, use_rep)
    if use_rep not in adata.obsm or (made.get("model_sha256") and os.fspath(model) != DEFAULT_MODEL):
        loaded = models.load(model)
        return loaded, embedding(adata, loaded, use_rep=use_rep, **road) if needed else None
    values = np.asarray(adata.obsm[use_rep], dtype=np.float32) if needed else None
    if values is not None and (values.ndim != 2 or not np.isfinite(values).all()):
        raise ValueError(f"obsm[{use_rep!r}] holds NaN or infinite values or is no matrix; expected finite numbers.")
    for name in dict.fromkeys([str(made.get("model", "")), os.fspath(model)] if made.get("model_sha256") else []):
        try:
            loaded = models.load(name)
        except (ValueError, RuntimeError):  # made elsewhere: its numbers are as good without the model at hand
            continue
        if loaded.sha256 == made["model_sha256"]:
            return loaded, values
    return None, values


def made_by(adata: AnnData, use_rep: str) -> dict[str, Any]:
    """Return what `uns` says about how `obsm[use_rep]` was made; empty where it says nothing."""
    found = adata.uns.get(use_rep)
    return found.get("params", {}) if isinstance(found, Mapping) else {}


def expression(adata: AnnData, *, layer: str | None, gene_key: str | None) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return log1p of counts per 10,000 in at most `MAX_GENES` genes, CSR float32, and the genes' names."""
    values, names = _adata.expression(adata, layer=layer, gene_key=gene_key)
    if len(names) > MAX_GENES:
        mean, spread = column_moments(values)
        chosen = np.sort(np.argsort(-np.where(mean > 0, spread, 0), kind="stable")[:MAX_GENES])
        _log.hint(f"expression readout: the {MAX_GENES} most variable of {len(names)} genes")
        values, names = values[:, chosen], names[chosen]
    return values, names


def depth(adata: AnnData, *, layer: str | None) -> np.ndarray:
    """Return log10 of 1 + a cell's counts and of 1 + its genes, float64, shape (n_obs, 2).

    Counts are those of the data, or as rebuilt from normalised values; where that fails the sum says nothing of depth.
    """

    def sums(chunk: CountChunk) -> np.ndarray:
        running = np.concatenate([[0.0], np.cumsum(chunk.counts, dtype=np.float64)])
        return np.stack([np.diff(running[chunk.indptr]), np.diff(chunk.indptr)], axis=1)

    every = GeneMap(np.arange(adata.n_vars, dtype=np.int32), adata.n_vars)
    parts, _ = map_counts(adata, every, sums, layer=layer)
    return np.log10(1 + np.concatenate(parts))


def folds(
    names: np.ndarray,
    samples: np.ndarray | None,
    *,
    values: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    n_splits: int,
    seed: int,
) -> np.ndarray:
    """Deal cells to folds: whole samples where they are known, else single cells; the order of cells has no influence.

    Parameters
    ----------
    names
        Cell names, which settle the order of equals.
    samples
        Sample of each cell, or `None`.
    values, labels
        What to spread over the folds: an age, or a class code, per cell.
    n_splits
        Folds wanted.
    seed
        Seed of the deal.

    Returns
    -------
    Fold of each cell, int64, shape (n_cells,).
    """
    if samples is not None:
        return sample_folds(samples, values=values, labels=labels, n_splits=n_splits, seed=seed)
    strata: Any = values if values is not None else labels
    order = np.argsort(names.astype(str), kind="stable")
    out = np.empty(len(names), dtype=np.int64)
    out[order] = cell_folds(strata[order], n_splits=n_splits, seed=seed)
    return out


def sample_names(adata: AnnData, sample_key: str | None) -> np.ndarray | None:
    """Return the sample of each cell as text, or `None` where no samples are named.

    Raises
    ------
    ValueError
        When a cell has no sample.
    """
    if sample_key is None:
        return None
    column = _adata.obs_column(adata, sample_key, what="sample_key")
    missing = int(column.isna().sum())
    if missing:
        raise ValueError(
            f"obs[{sample_key!r}] names no sample for {missing} of {len(column)} cells; expected one for each. "
            "Give them a sample, or leave these cells out."
        )
    return column.astype(str).to_numpy(dtype=object)
