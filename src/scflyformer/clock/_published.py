"""The published recipe of an aging clock on an embedding, with a scale that it should not depend on."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from scflyformer.stats._sklearn import load_sklearn

L1_RATIO, ALPHA, TEST_SHARE = 0.1, 1.0, 0.3
"""Those of the article: `ElasticNet(l1_ratio=0.1)` with alpha left at 1, cells split 7:3 at random."""
SCALES = (0.1, 1.0, 10.0)
MAX_ITER = 10_000


@dataclass(frozen=True, eq=False)
class Published:
    """What the recipe predicts.

    Attributes
    ----------
    tested
        Positions of the cells held out, ascending.
    predicted
        Prediction of each of these, float64.
    converged
        Whether the solver came to an end within its number of steps.
    """

    tested: np.ndarray
    predicted: np.ndarray
    converged: bool = True


def published_clock(
    x: np.ndarray, y: np.ndarray, *, scale: float = 1.0, seed: int = 0, max_iter: int = MAX_ITER
) -> Published:
    """Fit `ElasticNet(l1_ratio=0.1)` to 70 % of the cells, drawn at random, and predict the others.

    Nothing is tuned and nothing standardised, as published. The penalty of 1 then acts on whatever unit the features
    have: the same features times 0.1 or 10 (``scale``) give another clock. The solver gets ten times scikit-learn's
    number of steps, which do not always suffice where features are more than cells.

    ``x`` are features, n_cells × n_features; the order of cells settles the split. ``max_iter`` bounds the steps of the
    solver.
    """
    load_sklearn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import ElasticNet

    shuffled = np.random.default_rng(seed).permutation(len(y))
    n_test = max(round(TEST_SHARE * len(y)), 1)
    tested, train = np.sort(shuffled[:n_test]), np.sort(shuffled[n_test:])
    # With cyclic selection the seed has no say; without one, NumPy's global generator would move on.
    model = ElasticNet(alpha=ALPHA, l1_ratio=L1_RATIO, precompute=True, max_iter=max_iter, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(scale * x[train].astype(np.float64), y[train])
    return Published(tested, model.predict(scale * x[tested].astype(np.float64)), model.n_iter_ < max_iter)
