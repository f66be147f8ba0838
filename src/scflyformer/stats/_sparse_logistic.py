"""Multinomial logistic regression with an L1 penalty, by accelerated proximal gradient.

Why our own: scikit-learn's only solver for this problem, saga, takes many times as long to the same objective (the
ratio is printed by ``python -m benchmarks.speed.l1``), and a baseline that is fitted 25 times has to be quick.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scflyformer.stats._classification import IMPOSSIBLE
from scflyformer.stats._linear import LinearHead, standardised

SHARES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Penalties tried, as shares of the least one at which every weight is 0; strongest first."""


def fit_sparse_logistic(
    x: np.ndarray | sparse.csr_matrix,
    y: np.ndarray,
    *,
    n_classes: int,
    share: float | None = None,
    penalty: float | None = None,
    start: LinearHead | None = None,
    max_iter: int = 300,
    tolerance: float = 1e-4,
) -> LinearHead:
    """Fit logits on features standardised over the cells given: mean loss + λ·Σ|weight|, intercepts free.

    The objective is that of scikit-learn's ``LogisticRegression(l1_ratio=1, C=C)`` with C = 1 / (λ · n_cells). Solved
    by FISTA (Beck & Teboulle 2009) with a step found by backtracking and momentum dropped where the objective rises
    (O'Donoghue & Candès 2015), in float32. Features are centred, which changes no optimum as intercepts are free, but
    makes steps longer; they are therefore dense.

    `share` is λ as a share of the least one at which every weight is 0, so that one grid serves any number of cells;
    `penalty` is scikit-learn's C, in its place. `start` is a readout of the same cells to start from. The solver stops
    after `max_iter` steps, or when ten of them lower the objective by less than the share `tolerance`. Classes without
    a cell get bias `IMPOSSIBLE` and no weights. A single class is an error.
    """
    seen, code = np.unique(y, return_inverse=True)
    if len(seen) < 2:
        raise ValueError("A classifier needs cells of at least two classes; the training cells have one.")
    mean, scale, z = standardised(x)
    n = len(z)
    hot = np.zeros((n, len(seen)), dtype=np.float32)
    hot[np.arange(n), code] = 1
    prior = hot.mean(axis=0)
    if penalty is not None:
        strength = 1 / (penalty * n)
    else:
        strength = float(share or 0) * float(np.abs(z.T @ (hot - prior)).max()) / n
    w = np.zeros((z.shape[1] + 1, len(seen)), dtype=np.float32)  # the last row holds the intercepts
    w[-1] = np.log(prior)
    if start is not None:
        w[:-1], w[-1] = start.weight[seen].T, start.bias[seen]
    w = _fista(z, hot, w, strength, max_iter, tolerance)
    weight, bias = np.zeros((n_classes, x.shape[1])), np.full(n_classes, float(IMPOSSIBLE))
    weight[seen], bias[seen] = w[:-1].T, w[-1] - w[-1].mean()
    return LinearHead(mean, scale, weight, bias)


def _fista(
    z: np.ndarray, hot: np.ndarray, w: np.ndarray, strength: float, max_iter: int, tolerance: float
) -> np.ndarray:
    """Minimise mean cross-entropy of ``z @ w[:-1] + w[-1]`` + strength · Σ|w[:-1]| from `w` on."""
    n = len(z)

    def scores(w: np.ndarray) -> np.ndarray:
        return z @ w[:-1] + w[-1]

    def loss(f: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cross-entropy and the probabilities."""
        shifted = f - f.max(axis=1, keepdims=True)
        picked = np.einsum("ij,ij->i", shifted, hot)
        np.exp(shifted, out=shifted)
        total = shifted.sum(axis=1)
        shifted /= total[:, None]
        return float((np.log(total, dtype=np.float64) - picked).mean()), shifted

    def whole(loss: float, w: np.ndarray) -> float:
        return loss + strength * float(np.abs(w[:-1]).sum(dtype=np.float64))

    f = scores(w)
    value = whole(loss(f)[0], w)
    marks = [value]
    ahead, f_ahead, momentum, steepness = w, f, 1.0, 1.0
    for _ in range(max_iter):
        at, probability = loss(f_ahead)
        residual = (probability - hot) / np.float32(n)
        slope = np.concatenate([z.T @ residual, residual.sum(axis=0, keepdims=True)])
        steepness *= 0.9
        while True:
            new = ahead - slope / np.float32(steepness)
            limit = np.float32(strength / steepness)
            new[:-1] = np.sign(new[:-1]) * np.maximum(np.abs(new[:-1]) - limit, 0)
            f_new, step = scores(new), new - ahead
            new_loss = loss(f_new)[0]
            bound = at + float((slope * step).sum()) + steepness / 2 * float((step**2).sum())
            if new_loss <= bound + 1e-6 * abs(at) or steepness > 1e8:
                break
            steepness *= 1.3
        new_value = whole(new_loss, new)
        if new_value > value and momentum > 1:  # momentum has led uphill: drop it and step again from the last point
            ahead, f_ahead, momentum = w, f, 1.0
            continue
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        gain = np.float32((momentum - 1) / following)
        ahead, f_ahead = new + gain * (new - w), f_new + gain * (f_new - f)
        w, f, value, momentum = new, f_new, new_value, following
        marks.append(value)
        if len(marks) > 10 and marks[-11] - value < tolerance * abs(value):
            break
    return w
