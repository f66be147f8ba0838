"""The linear part: what the linear numbers of the profile code say by themselves when a gene is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scflyformer.genes._vocabulary import N_SPECIAL

if TYPE_CHECKING:
    from scflyformer.network._network import CellBert

    from .cells import Cells

PENALTIES = 10.0 ** np.arange(-4, 4)
"""Ridge penalties to choose from, in mean eigenvalues of the covariance of the linear numbers."""


def linear_changes(network: CellBert, cells: Cells, genes: np.ndarray) -> np.ndarray:
    """Predict how expression changes where each of ``genes``, positions in the vocabulary, is taken away; no network.

    The profile code starts from numbers that are linear in a cell's values: projections on its directions, and those
    that its nonlinear half reads. Each of the two blocks is scaled to a total variance of one over ``cells``, and a
    ridge regression from them to the log-normalised expression of every gene, in its standard deviations, is fitted on
    ``cells``, its penalty chosen by generalised cross-validation. Taking a gene away takes its value, on average over
    the cells that hold it, times its row of weights from these numbers; what the regression makes of that is the
    predicted change. Neither BERT nor the nonlinear half of the code nor the decoder has a part in it.

    Returns changes by tested gene and column of ``cells.expression``, shape (n_genes, n_columns).
    """
    if network.profile_encoder is None:
        raise ValueError("The linear part needs a model with a profile code.")
    rows = cells.rows.cut(network.max_len)
    values = sparse.csr_matrix(
        (np.maximum(rows.values, 0).astype(np.float64), rows.tokens - N_SPECIAL, rows.indptr),
        shape=(len(rows), network.n_genes),
    )
    blocks = [part.detach().double().cpu().numpy() for part in network.profile_encoder.weights]
    weights = np.hstack([block / np.sqrt(max((values @ block).var(0).sum(), 1e-12)) for block in blocks])
    expression = cells.expression.toarray().astype(np.float64)
    expression -= expression.mean(0)
    spread = expression.std(0)
    expression /= np.where(spread > 0, spread, 1.0)
    held = values[:, genes]
    n_cells = np.maximum(np.asarray((held > 0).sum(0)).ravel(), 1)
    mean = np.asarray(held.sum(0)).ravel() / n_cells
    return -(mean[:, None] * weights[genes]) @ ridge(values @ weights, expression)


def ridge(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return weights, shape (n_features, n_targets), of the penalty with the least generalised cross-validation error.

    One penalty for all targets, which are centred; features are centred here.
    """
    left, size, right = np.linalg.svd(features - features.mean(0), full_matrices=False)
    asked = left.T @ targets
    total, n = float((targets**2).sum()), len(features)
    best, found = np.inf, np.zeros_like(size)
    for penalty in PENALTIES * (size**2).mean():
        kept = size**2 / (size**2 + penalty)
        error = total - float(((2 * kept - kept**2)[:, None] * asked**2).sum())
        score = error / (1 - min((kept.sum() + 1) / n, 1 - 1e-9)) ** 2
        if score < best:
            best, found = score, size / (size**2 + penalty)
    return right.T @ (found[:, None] * asked)
