"""Adjusted p-values agree with the definition and pass over missing ones."""

from __future__ import annotations

import numpy as np

from scflyformer.stats._fdr import false_discovery_rate


def test_against_the_definition() -> None:
    p = np.random.default_rng(0).random(20) ** 2
    order = np.argsort(p)
    expected = np.empty(20)
    for place, test in enumerate(order):
        expected[test] = min(min(p[later] * 20 / (rank + 1) for rank, later in list(enumerate(order))[place:]), 1)
    np.testing.assert_allclose(false_discovery_rate(p), expected)


def test_missing_values_do_not_count() -> None:
    p = np.array([0.01, np.nan, 0.04])
    np.testing.assert_allclose(false_discovery_rate(p), [0.02, np.nan, 0.04])
    assert np.isnan(false_discovery_rate(np.array([np.nan]))).all()
    assert false_discovery_rate(np.empty(0)).shape == (0,)
