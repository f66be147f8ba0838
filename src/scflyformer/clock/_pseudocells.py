"""Means over bundles of cells that stand alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse


def bundle(strata: np.ndarray, order: np.ndarray, *, size: int | None, seed: int) -> np.ndarray:
    """Deal the cells of each stratum at random to bundles of nearly the same size.

    Parameters
    ----------
    strata
        A code per cell, shape (n_cells,): cells of different ones never share a bundle.
    order
        A permutation of the cells that does not depend on how they were given (by name), shape (n_cells,).
    size
        Cells a bundle, about; `None` for one bundle a stratum.
    seed
        Seed of the deal.

    Returns
    -------
    Bundle of each cell, int64, shape (n_cells,), numbered by stratum.
    """
    random = np.random.default_rng(seed)
    shuffled = order[random.permutation(len(order))]
    out, n = np.empty(len(strata), dtype=np.int64), 0
    for stratum in np.unique(strata):
        cells = shuffled[strata[shuffled] == stratum]
        n_bundles = 1 if size is None else max(round(len(cells) / size), 1)
        out[cells] = n + np.arange(len(cells)) % n_bundles
        n += n_bundles
    return out


def bundle_means(x: Any, bundles: np.ndarray) -> Any:
    """Return the mean of the rows of each bundle, shape (n_bundles, n_features), sparse where ``x`` is."""
    n_cells, n = len(bundles), int(bundles.max()) + 1
    share = 1 / np.bincount(bundles, minlength=n)[bundles]
    mean = sparse.csr_matrix((share, (bundles, np.arange(n_cells))), shape=(n, n_cells))
    return mean @ x
