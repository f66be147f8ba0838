"""What readouts are fitted on beside embeddings: expression and depth, and how cells are dealt to folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer import _log
from scflyformer.data import _adata
from scflyformer.data._chunks import CountChunk, GeneMap, map_counts
from scflyformer.data._reading import AS_IT_IS, Reading
from scflyformer.stats._linear import column_moments
from scflyformer.stats._splits import cell_folds, sample_folds

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

    from scflyformer.models import Model

MAX_GENES = 4000
"""Genes an expression readout takes at most: the most variable ones, chosen without labels or ages."""


def contrast_columns(model: Model | None) -> slice:
    """Return which columns of the embedding tell kinds of cells apart best: the contrast part, or all without one."""
    size = int(model.config.get("code_size", 0)) if model is not None and model.has_cell_token else 0
    return slice(-size, None) if size else slice(None)


def expression_features(
    adata: AnnData, reading: Reading = AS_IT_IS, *, log_prefix: str | None = None
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return log1p of counts per 10,000 in at most `MAX_GENES` genes, CSR float32, and the genes' names."""
    values, names = _adata.log_expression(adata, reading, log_prefix=log_prefix)
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

    ``names`` are those of `scflyformer.data._columns.cell_names`, which settle the order of equals. ``values``, ages,
    or ``labels``, class codes, are what to spread over the folds. Returns the fold of each cell, int64.
    """
    if samples is not None:
        return sample_folds(samples, values=values, labels=labels, n_splits=n_splits, seed=seed)
    strata: Any = values if values is not None else labels
    # Cells of the same name and stratum hold the same values, so they stay together.
    keys = np.array([f"{name}\0{stratum}" for name, stratum in zip(names, strata, strict=True)])
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return cell_folds(strata[first], n_splits=n_splits, seed=seed)[place]


def sample_names(adata: AnnData, sample_key: str | None) -> np.ndarray | None:
    """Return the sample of each cell as text, all of them named, or `None` where no samples are asked for."""
    if sample_key is None:
        return None
    samples = _adata.obs_text(adata, sample_key, what="sample_key")
    missing = sum(sample is None for sample in samples)
    if missing:
        raise ValueError(
            f"obs[{sample_key!r}] names no sample for {missing} of {len(samples)} cells; expected one for each. "
            "Give them a sample, or leave these cells out."
        )
    return samples
