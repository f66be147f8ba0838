"""Clocks are cross-validated by sample: each is judged on samples that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.clock._fit import ClockOptions, fit_clock, fit_clocks
from scflyformer.clock._units import Cells

AGES = np.array([0.0, 3, 10, 30, 50])
OPTIONS = ClockOptions(("embedding",), n_splits=5)


def _cells(n_samples: int = 10, *, size: int = 12, seed: int = 0) -> Cells:
    """Draw samples of one age each, and an embedding whose first number follows log age."""
    random = np.random.default_rng(seed)
    code = np.repeat(np.arange(n_samples), size)
    ages = AGES[code % len(AGES)]
    x = random.normal(size=(len(code), 4)) + random.normal(0, 0.3, n_samples)[code][:, None]
    x[:, 0] += np.log2(ages + 1)
    names = np.array([f"cell{n}" for n in range(len(code))], dtype=object)
    return Cells(names, ages, np.array([f"lib{n}" for n in code], dtype=object), {"embedding": x.astype(np.float32)})


def test_a_held_out_sample_has_no_part_in_its_prediction() -> None:
    """Nor in its interval: with another age it gets the same ones."""
    cells = _cells(15)
    before = fit_clock(cells, np.arange(180), "all", OPTIONS).results["embedding"]
    own = cells.samples == "lib14"
    ages = np.where(own, 40.0, cells.ages)  # the oldest stays the oldest, so that folds are dealt alike
    after = fit_clock(Cells(cells.names, ages, cells.samples, cells.blocks), np.arange(180), "all", OPTIONS)
    for name in ("predicted", "low", "high"):
        np.testing.assert_allclose(getattr(after.results["embedding"], name)[own], getattr(before, name)[own])
    assert before.scores.values["r2"] > 0.5


def test_the_mean_clock_predicts_the_mean_over_training_samples() -> None:
    """Whatever their sizes: on the scale fitted, over the samples of the other folds."""
    every = _cells()
    kept = np.flatnonzero((every.samples != "lib3") | (np.arange(120) % 4 == 0))
    cells = every.take(kept)
    predicted = fit_clock(cells, kept, "all", OPTIONS).results["mean"].predicted
    constant = {name: set(np.round(predicted[cells.samples == name], 9)) for name in np.unique(cells.samples)}
    assert all(len(values) == 1 for values in constant.values())
    together = {}
    for name, (value,) in constant.items():
        together.setdefault(value, []).append(name)
    for value, held in together.items():  # samples of one fold share a prediction
        others = [name for name in constant if name not in held]
        expected = np.mean([np.log2(cells.ages[cells.samples == name][0] + 1) for name in others])
        assert np.log2(value + 1) == pytest.approx(expected, abs=1e-6)


def test_predictions_beyond_the_training_ages_are_marked() -> None:
    clock = fit_clock(_cells(), np.arange(120), "all", OPTIONS)
    result = clock.results["embedding"]
    predicted, outside = result.predicted, result.outside
    assert outside[(predicted < 0) | (predicted > 50)].all() and outside.any()
    assert not outside[(predicted > 0) & (predicted < 30)].any()  # 30 is the highest where all of age 50 are held out


def test_few_samples_have_no_interval_and_say_why() -> None:
    """Ten samples leave eight to read errors off; fifteen leave twelve."""
    few, enough = (fit_clock(_cells(n), np.arange(12 * n), "all", OPTIONS) for n in (10, 15))
    for end in ("low", "high"):
        assert np.isnan(getattr(few.results["embedding"], end)).all()
        assert np.isfinite(getattr(enough.results["embedding"], end)).all()
    assert few.no_interval == "8 samples to read errors off, fewer than 10" and not enough.no_interval


def test_small_groups_are_told_and_have_no_clock() -> None:
    cells = _cells()
    groups = np.full(120, None, dtype=object)
    groups[:60], groups[60:64] = "large", "few"
    groups[72:84] = "one sample"
    groups[119] = "few"
    clocks, skipped = fit_clocks(cells, groups, OPTIONS, min_cells=6)
    assert [clock.group for clock in clocks] == ["all", "large"]
    assert clocks[1].cells.tolist() == list(range(60))
    reasons = {row["group"]: row["reason"] for row in skipped}
    assert reasons == {"few": "5 cells, fewer than 6", "one sample": "one age (3)"}


def test_pseudobulks_are_predicted_as_such() -> None:
    """One unit a sample, whose embedding is the mean of its cells'."""
    cells = _cells()
    options = ClockOptions(("embedding",), n_splits=5, aggregate="pseudobulk", final="embedding")
    clock = fit_clock(cells, np.arange(120), "all", options)
    assert len(clock.units.ages) == 10 and len(clock.pseudocells) == 120
    for unit in range(10):
        inside = clock.pseudocells == unit
        assert set(cells.samples[inside]) == {clock.units.samples[unit]}
        mean = cells.blocks["embedding"][inside].mean(axis=0)
        np.testing.assert_allclose(clock.units.blocks["embedding"][unit], mean, atol=1e-5)
    fitted = clock.head(clock.units.blocks["embedding"])[:, 0]
    assert np.corrcoef(fitted, np.log2(clock.units.ages + 1))[0, 1] > 0.9 and (clock.interval.half > 0).all()
