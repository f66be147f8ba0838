"""Means over samples and their intervals, set by set, equal those of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scflyformer.perturbation._effects import set_effects


@pytest.fixture
def table() -> pd.DataFrame:
    """Two numbers of 300 copies: sets 2, 3, 5 and 9, of which 9 is in one sample; the second number has gaps."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"chosen": random.choice([9, 2, 5, 3], 300), "sample": random.integers(0, 6, 300)})
    table.loc[table["chosen"] == 9, "sample"] = 4
    values = random.normal(size=(300, 2)) + table[["chosen"]].to_numpy()
    table["one"], table["two"] = values.T
    table.loc[random.random(300) < 0.3, "two"] = np.nan
    table.loc[(table["chosen"] == 5) & (table["sample"] != 1), "two"] = np.nan
    table.loc[table["chosen"] == 3, "two"] = np.nan
    return table


def test_effects_equal_those_of_a_table(table: pd.DataFrame) -> None:
    columns = ["one", "two"]
    found = set_effects(*(table[name].to_numpy() for name in ("chosen", "sample")), table[columns].to_numpy())
    assert found.numbers.tolist() == [2, 3, 5, 9]
    assert found.means.shape == (4, 6, 2)
    half = found.half_width()
    for row, number in enumerate(found.numbers):
        own = table[table["chosen"] == number]
        for column, name in enumerate(columns):
            values = own.dropna(subset=[name])
            means = values.groupby("sample")[name].mean()
            np.testing.assert_allclose(found.means[row, :, column], means.reindex(range(6)))
            assert found.n_cells[row, column] == len(values) and found.n_samples[row, column] == len(means)
            assert found.shift[row, column] == pytest.approx(means.mean(), nan_ok=True)
            assert found.spread[row, column] == pytest.approx(values[name].std(), nan_ok=True)
            counted = means if len(means) > 1 else values[name]
            if not len(counted):
                assert np.isnan(half[row, column])
                continue
            low, high = stats.ttest_1samp(counted, 0).confidence_interval()
            assert [low, high] == pytest.approx(found.shift[row, column] + half[row, column] * np.array([-1, 1]))
    assert found.n_samples[:, 1].tolist()[1:3] == [0, 1]  # none, and one
    wide = found.half_width(0.99)
    assert (wide[np.isfinite(half)] > half[np.isfinite(half)]).all()


def test_one_cell_has_no_interval() -> None:
    found = set_effects(np.array([4, 4, 7]), np.array([0, 1, 1]), np.array([[1.0], [3.0], [5.0]]))
    np.testing.assert_allclose(found.shift[:, 0], [2, 5])
    assert np.isfinite(found.half_width()[0, 0]) and np.isnan(found.half_width()[1, 0])


def test_nothing_was_edited() -> None:
    found = set_effects(np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros((0, 3)))
    assert found.shift.shape == found.half_width().shape == (0, 3)


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    """Samples differ, and each has a different number of cells."""
    random, hold = np.random.default_rng(1), []
    sample = np.repeat(np.arange(5), [3, 40, 8, 20, 1])
    for _ in range(800):
        values = (random.normal(size=5)[sample] + 0.3 * random.normal(size=len(sample)))[:, None]
        found = set_effects(np.zeros(len(sample), dtype=int), sample, values)
        hold.append(abs(found.shift[0, 0]) <= found.half_width()[0, 0])
    assert np.mean(hold) == pytest.approx(0.95, abs=0.02)
