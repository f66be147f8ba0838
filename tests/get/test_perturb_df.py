"""Perturbation tables come back as they were written, chosen by gene and group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture
def perturbed(cells: AnnData, tiny_model: Path) -> AnnData:
    """Cells with two genes deleted in each type."""
    sf.tl.perturb(
        cells, genes=["tiny1", "tiny30"], state_key="age", start=30, goal=5, groupby="cell_type", sample_key="batch",
        n_null=6, model=tiny_model,
    )  # fmt: skip
    return cells


@pytest.mark.parametrize("table", ["results", "cells", "null"])
def test_tables_are_copies_of_what_was_written(perturbed: AnnData, table: str) -> None:
    """Equal to `uns`; changing it changes nothing there."""
    found = sf.get.perturb_df(perturbed, table=table)
    pd.testing.assert_frame_equal(found, perturbed.uns["perturb"][table])
    found["gene"] = "x"
    assert "x" not in set(perturbed.uns["perturb"][table]["gene"])


def test_choice_of_genes_and_groups(perturbed: AnnData) -> None:
    """One name or several; labels with a slash; rows are numbered anew."""
    found = sf.get.perturb_df(perturbed, genes="tiny30", groups=["T4/T5", "glia"])
    assert found[["gene", "group"]].to_numpy().tolist() == [["tiny30", "T4/T5"], ["tiny30", "glia"]]
    assert found.index.tolist() == [0, 1]
    cells = sf.get.perturb_df(perturbed, table="cells", genes=["tiny30"], groups="T4/T5")
    assert set(cells["group"]) == {"T4/T5"} and np.isfinite(cells["shift"]).all()


def test_bad_requests_list_what_there_is(perturbed: AnnData, cells: AnnData) -> None:
    """Keys, genes and groups that are not there."""
    with pytest.raises(KeyError, match="did you mean 'perturb'"):
        sf.get.perturb_df(perturbed, key="pertub")
    with pytest.raises(KeyError, match="did you mean 'tiny30'"):
        sf.get.perturb_df(perturbed, genes="tiny300")
    with pytest.raises(KeyError, match=r"no 'muscle'.*T4/T5"):
        sf.get.perturb_df(perturbed, groups="muscle")
    with pytest.raises(ValueError, match="expected 'results', 'cells' or 'null'"):
        sf.get.perturb_df(perturbed, table="scores")
    cells.uns.clear()
    with pytest.raises(KeyError, match=r"there are none\. Run tl\.perturb first"):
        sf.get.perturb_df(cells)
