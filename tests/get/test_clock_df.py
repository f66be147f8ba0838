"""Clocks come back as tidy tables."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scflyformer as sf


def test_tables(cells: ad.AnnData, tiny_model: Path) -> None:
    sf.tl.age_clock(
        cells, model=tiny_model, sample_key="batch", baselines="none", groupby="cell_type", key_added="mine"
    )
    results = sf.get.clock_df(cells, key="mine")
    assert results["features"].tolist() == ["embedding", "depth", "mean"]
    predictions = sf.get.clock_df(cells, key="mine", table="predictions")
    assert predictions.columns.tolist() == ["cell", "group", "sample", "age", "features", "predicted"]
    assert len(predictions) == 3 * cells.n_obs
    own = predictions[predictions["features"] == "embedding"].set_index("cell")["predicted"]
    np.testing.assert_array_equal(own.loc[cells.obs_names], cells.uns["mine"]["predictions"]["embedding"])
    skipped = sf.get.clock_df(cells, key="mine", table="skipped")
    assert skipped["group"].tolist() == ["T4/T5", "glia", "neuron"]


def test_bad_input(cells: ad.AnnData) -> None:
    with pytest.raises(KeyError, match="Run tl.age_clock first"):
        sf.get.clock_df(cells)
    cells.uns["age_clock"] = {}
    with pytest.raises(KeyError, match="applied to cells without ages"):
        sf.get.clock_df(cells)
    with pytest.raises(ValueError, match="table is 'rows'"):
        sf.get.clock_df(cells, table="rows")
