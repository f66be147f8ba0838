"""Predicted ages as columns of `obs`: what is not set stays missing."""

from __future__ import annotations

import numpy as np

from scflyformer.clock._predictions import AgePredictions


def test_cells_get_the_predictions_of_their_pseudocells() -> None:
    units = AgePredictions(*(np.array(values) for values in ([5.0, 9], [4.0, 8], [6.0, 10], [False, True])))
    cells = AgePredictions.none(4)
    cells.put(np.array([3, 0, 1]), units.take(np.array([1, 0, 1])))
    columns = cells.columns("age")
    assert list(columns) == ["age", "age_low", "age_high", "age_outside"]
    np.testing.assert_array_equal(columns["age"], [5, 9, np.nan, 9])
    np.testing.assert_array_equal(columns["age_low"], [4, 8, np.nan, 8])
    np.testing.assert_array_equal(columns["age_high"], [6, 10, np.nan, 10])
    assert columns["age_outside"].tolist() == [False, True, False, True]
