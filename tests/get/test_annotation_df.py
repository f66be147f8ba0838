"""Annotations come back as tidy tables."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import scflyformer as sf


@pytest.fixture
def annotated(cells: ad.AnnData, tiny_model: Path) -> ad.AnnData:
    sf.tl.annotate(
        cells, model=tiny_model, label_key="cell_type", sample_key="batch", groupby="batch", key_added="mine",
        baselines="none",
    )  # fmt: skip
    return cells


def test_tables(annotated: ad.AnnData) -> None:
    cells = sf.get.annotation_df(annotated, key="mine")
    assert cells.columns.tolist() == ["label", "best", "score", "novelty"]
    assert cells.index.equals(annotated.obs_names)
    np.testing.assert_array_equal(cells["novelty"], annotated.obs["mine_novelty"])
    proba = sf.get.annotation_df(annotated, key="mine", table="proba")
    assert proba.columns.tolist() == ["T4/T5", "glia", "neuron"]
    assert (proba.idxmax(axis=1) == cells["best"].astype(str)).all()
    np.testing.assert_allclose(proba.max(axis=1), cells["score"])
    assert sf.get.annotation_df(annotated, key="mine", table="metrics")["features"].tolist() == ["embedding"]
    assert sf.get.annotation_df(annotated, key="mine", table="groups")["group"].tolist() == ["s0", "s1", "s2", "s3"]
    table = sf.get.annotation_df(annotated, key="mine", table="per_class")
    table["recall"] = 5
    assert (annotated.uns["mine"]["per_class"]["recall"] <= 1).all()


def test_cells_without_novelty(annotated: ad.AnnData) -> None:
    del annotated.obs["mine_novelty"]
    assert sf.get.annotation_df(annotated, key="mine").columns.tolist() == ["label", "best", "score"]


def test_bad_input(annotated: ad.AnnData) -> None:
    words = (
        r"no 'mien'.*did you mean 'mine'.*Pass key='mine', or run sf.tl.annotate\(adata, ..., key_added='mien'\) first"
    )
    with pytest.raises(KeyError, match=words):
        sf.get.annotation_df(annotated, key="mien")
    with pytest.raises(ValueError, match="table is 'rows'; expected one of"):
        sf.get.annotation_df(annotated, key="mine", table="rows")
    del annotated.uns["mine"]["groups"]
    with pytest.raises(KeyError, match="no table 'groups'. Pass groupby="):
        sf.get.annotation_df(annotated, key="mine", table="groups")
