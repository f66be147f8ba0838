"""Clocks come back as tidy tables."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
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


@pytest.mark.parametrize("name", ["per_age", "genes", "scale_trap"])
def test_tables_beside_the_scores(name: str, cells: ad.AnnData) -> None:
    """They come back as they are, in an object of their own; one that is not there says what makes it."""
    results = pd.DataFrame({"group": ["all"], "features": "embedding", "split": "sample"})
    cells.uns["age_clock"] = {"results": results, "skipped": results}
    why = {"genes": "no clock on expression was fitted", "scale_trap": "the article's recipe was not run"}
    with pytest.raises(KeyError, match=f"no table '{name}': {why.get(name, 'it is not among what this version')}"):
        sf.get.clock_df(cells, table=name)
    stored = pd.DataFrame({"group": ["all", "glia"], "gene": ["a", "b"]}, index=["0", "1"])
    cells.uns["age_clock"][name] = stored.copy()
    found = sf.get.clock_df(cells, table=name)
    assert found["gene"].tolist() == ["a", "b"] and isinstance(found.index, pd.RangeIndex)
    found["gene"] = "c"
    pd.testing.assert_frame_equal(cells.uns["age_clock"][name], stored)
    del cells.uns["age_clock"][name]
    cells.uns["age_clock"]["results"]["split"] = "external"
    with pytest.raises(KeyError, match="a saved clock was applied, and only a call that fits"):
        sf.get.clock_df(cells, table=name)


def test_tables_from_the_tool(cells: ad.AnnData, tiny_model: Path) -> None:
    sf.tl.age_clock(cells, model=tiny_model, sample_key="batch")
    per_age = sf.get.clock_df(cells, table="per_age")
    assert {"group", "features", "age", "n_cells", "n_samples", "bias", "mae"} <= set(per_age)
    assert set(per_age["age"]) == {5, 30}
    genes = sf.get.clock_df(cells, table="genes")
    assert {"group", "gene", "weight", "weight_sd", "same_sign", "top_share"} <= set(genes)
    assert set(genes["gene"]) <= set(cells.var_names)
    trap = sf.get.clock_df(cells, table="scale_trap")
    assert trap["scale"].tolist() == [0.1, 1, 10] and np.isfinite(trap["r2"]).all()


def test_bad_input(cells: ad.AnnData) -> None:
    with pytest.raises(KeyError, match=r"no 'age_clock' in adata\.uns\. Run sf\.tl\.age_clock\(adata, ...\) first"):
        sf.get.clock_df(cells)
    cells.uns["age_clock"] = {"n_outside": 0}
    with pytest.raises(KeyError, match="applied to cells without known ages"):
        sf.get.clock_df(cells)
    with pytest.raises(ValueError, match="table is 'rows'"):
        sf.get.clock_df(cells, table="rows")
