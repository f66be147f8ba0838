"""Ages from the file alone."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scflyformer as sf


@pytest.fixture
def undated() -> ad.AnnData:
    cells = sf.datasets.fly_brain_simulated(400)
    cells.obs["days"] = cells.obs.pop("age").astype(float)
    return cells


def test_brain_cells_without_ages_are_dated(undated: ad.AnnData) -> None:
    sf.tl.age_clock(undated)
    found = undated.uns["age_clock"]
    assert found["params"]["clock"] == "fly-brain-clock"
    assert "R² is 0." in found["held_out"] and "0 to 50" in found["held_out"]
    ages = undated.obs["age_clock"]
    assert ages.notna().mean() > 0.9
    assert np.corrcoef(ages[ages.notna()], undated.obs["days"][ages.notna()])[0, 1] > 0.3
    assert (undated.obs["age_clock_low"] <= ages)[ages.notna()].all()


def test_a_clock_is_not_learnt_where_a_column_is_named(undated: ad.AnnData) -> None:
    with pytest.raises(KeyError, match="age_key: no 'ages'"):
        sf.tl.age_clock(undated, age_key="ages")
    with pytest.raises(KeyError, match="age_key: no 'age'"):
        sf.tl.age_clock(undated, save="clock")


def test_other_tissue_is_refused_and_nothing_is_written(undated: ad.AnnData) -> None:
    undated.X = np.random.default_rng(0).poisson(0.3, undated.shape).astype(np.float32)
    before = list(undated.obs)
    with pytest.raises(ValueError, match=r"Only \d+% of the cells are like those.*adult brains"):
        sf.tl.age_clock(undated)
    assert list(undated.obs) == before and "age_clock" not in undated.uns


def test_cells_unlike_a_brain_get_no_age(undated: ad.AnnData) -> None:
    counts = undated.X.toarray() if hasattr(undated.X, "toarray") else undated.X.copy()
    counts[:40] = np.random.default_rng(0).poisson(0.3, (40, undated.n_vars))
    undated.X = counts.astype(np.float32)
    sf.tl.age_clock(undated, clock="fly-brain-clock")
    assert undated.obs["age_clock"][:40].isna().mean() > 0.5
    assert undated.obs["age_clock"][40:].notna().mean() > 0.85
