"""The published recipe is scikit-learn's, and the unit of the features decides what it gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet

from scflyformer.clock._published import published_clock
from scflyformer.stats._regression import r2


def _data(n: int = 200, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(2, 1, (n, width)).astype(np.float32)
    return x, x @ np.linspace(-1, 2, width) + rng.normal(size=n)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_equals_sklearn(scale: float) -> None:
    x, y = _data()
    found = published_clock(x, y, scale=scale, seed=3)
    train = np.setdiff1d(np.arange(len(y)), found.tested)
    assert len(found.tested) == 60 and len(train) == 140
    assert (np.diff(found.tested) > 0).all()
    model = ElasticNet(l1_ratio=0.1).fit(x[train].astype(np.float64) * scale, y[train])
    np.testing.assert_allclose(found.predicted, model.predict(x[found.tested].astype(np.float64) * scale), rtol=1e-3)


def test_the_scale_alone_makes_a_clock_or_none() -> None:
    """The same features in a larger unit escape the fixed penalty; in a smaller one they are shrunk to the mean age."""
    x, y = _data()
    runs = {scale: published_clock(x, y, scale=scale) for scale in (0.01, 0.1, 1.0, 10.0)}
    scores = [r2(y[run.tested], run.predicted) for run in runs.values()]
    assert scores == sorted(scores)
    assert scores[0] < 0.05 and scores[-1] > 0.8
    least = runs[0.01]
    assert np.ptp(least.predicted) < 0.01 * np.ptp(y)


def test_a_solver_that_needs_more_steps_than_usual_gets_them() -> None:
    """With more features than cells; where its bound is met all the same, that is told and not warned of."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(70, 10)) @ rng.normal(size=(10, 300)) + 0.3 * rng.normal(size=(70, 300))
    y = x[:, :5].sum(axis=1) + rng.normal(size=70)
    found, short = published_clock(x, y, scale=10.0), published_clock(x, y, scale=10.0, max_iter=20)
    assert found.converged and not short.converged
    assert r2(y[found.tested], found.predicted) > 0


def test_the_split_follows_the_seed_alone() -> None:
    x, y = _data()
    one, same, other = published_clock(x, y, seed=1), published_clock(-x, y[::-1], seed=1), published_clock(x, y)
    np.testing.assert_array_equal(one.tested, same.tested)
    assert not np.array_equal(one.tested, other.tested)
    assert len(published_clock(x[:2], y[:2]).tested) == 1
