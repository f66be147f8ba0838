"""Labels become FBbt terms; nothing is guessed silently."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scflyformer as sf

LABELS = ["lamina monopolar neuron L1", "FBbt:00003720", "Gamma Kenyon cells", "T1", "G-KC", "unannotated", np.nan]


@pytest.fixture
def cells() -> ad.AnnData:
    return ad.AnnData(np.ones((14, 3), np.float32), obs=pd.DataFrame({"type": LABELS * 2}, index=map(str, range(14))))


def test_ids_names_and_plurals_are_matched_and_others_left(cells: ad.AnnData) -> None:
    sf.pp.harmonize_labels(cells, "type")
    assert cells.obs["cell_type_fbbt"].tolist()[:3] == ["FBbt:00003719", "FBbt:00003720", "FBbt:00100247"]
    assert cells.obs["cell_type_fbbt_name"].tolist()[1] == "lamina monopolar neuron L2"
    assert cells.obs["cell_type_fbbt"].isna().tolist()[3:7] == [True] * 4
    table = cells.uns["cell_type_fbbt"]["table"].set_index("label")
    assert table["how"].to_dict() == {
        "FBbt:00003720": "id", "G-KC": "none", "Gamma Kenyon cells": "name", "T1": "ambiguous",
        "lamina monopolar neuron L1": "name",
    }  # fmt: skip
    assert "columnar neuron T1" in table.loc["T1", "suggestions"]
    assert (table["n_cells"] == 2).all()


def test_what_is_given_decides(cells: ad.AnnData) -> None:
    given = {"T1": "FBbt:00003727", "G-KC": "FBbt:00049828", "FBbt:00003720": ""}
    sf.pp.harmonize_labels(cells, "type", mapping=given, key_added="term")
    table = cells.uns["term"]["table"].set_index("label")
    assert table.loc[list(given), "term"].tolist() == list(given.values())
    assert cells.obs["term_name"].tolist()[3] == "columnar neuron T1"
    assert cells.uns["term"]["params"]["mapping"] == given


def test_names_are_read_as_terms_and_tissues_are_told(cells: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    sf.pp.harmonize_labels(cells, "type", mapping={"T1": "columnar neuron T1", "G-KC": "adult fat body"})
    table = cells.uns["cell_type_fbbt"]["table"].set_index("label")
    assert table.loc["T1", "term"] == "FBbt:00003727" and table.loc["T1", "is_cell"]
    assert not table.loc["G-KC", "is_cell"] and "'G-KC': terms of tissues" in said[-1]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"T1": "FBbt:1"}, "FBbt:1.*no term of FBbt"),
        ({"T1": "T1"}, "'T1'.*or several"),
        ({"T9": "FBbt:00003727"}, "no cell is labelled.*T9"),
    ],
)
def test_a_wrong_mapping_is_an_error_and_nothing_is_written(
    cells: ad.AnnData, mapping: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sf.pp.harmonize_labels(cells, "type", mapping=mapping)
    assert list(cells.obs) == ["type"] and not cells.uns


def test_survives_a_file_and_a_copy(cells: ad.AnnData, tmp_path) -> None:
    copy = sf.pp.harmonize_labels(cells, "type", copy=True)
    assert list(cells.obs) == ["type"] and copy is not None
    copy.write_h5ad(tmp_path / "cells.h5ad")
    again = ad.read_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(again.uns["cell_type_fbbt"]["table"], copy.uns["cell_type_fbbt"]["table"])


def test_a_missing_column_names_near_ones(cells: ad.AnnData) -> None:
    with pytest.raises(KeyError, match="type"):
        sf.pp.harmonize_labels(cells, "typ")
