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
    found = sf.get.perturb_df(perturbed, table=table, readout=None)
    pd.testing.assert_frame_equal(found, perturbed.uns["perturb"][table].reset_index(drop=True))
    found["gene"] = "x"
    assert "x" not in set(perturbed.uns["perturb"][table]["gene"])


def test_choice_of_readouts(perturbed: AnnData) -> None:
    """Shifts, unless another readout is asked for; one that the run has not is named."""
    every = sf.get.perturb_df(perturbed, readout=None)
    for readout in ("shift", "net_shift"):
        rows = every[every["readout"] == readout].reset_index(drop=True)
        asked = {} if readout == "shift" else {"readout": readout}
        pd.testing.assert_frame_equal(sf.get.perturb_df(perturbed, **asked), rows)
    with pytest.raises(KeyError, match=r"readout: no 'age' .*Run sf\.tl\.perturb with the folder of a clock"):
        sf.get.perturb_df(perturbed, readout="age")
    perturbed.uns["perturb"]["results"] = every.drop(columns="readout")
    with pytest.raises(KeyError, match="an earlier version wrote it"):
        sf.get.perturb_df(perturbed)
    assert len(sf.get.perturb_df(perturbed, readout=None)) == len(every)


def test_choice_of_genes_and_groups(perturbed: AnnData) -> None:
    """One name or several; labels with a slash; rows are numbered anew."""
    found = sf.get.perturb_df(perturbed, genes="tiny30", groups=["T4/T5", "glia"])
    assert found[["gene", "group"]].to_numpy().tolist() == [["tiny30", "T4/T5"], ["tiny30", "glia"]]
    assert found.index.tolist() == [0, 1]
    cells = sf.get.perturb_df(perturbed, table="cells", genes=["tiny30"], groups="T4/T5")
    assert set(cells["group"]) == {"T4/T5"} and np.isfinite(cells["shift"]).all()


@pytest.fixture
def written(cells: AnnData) -> AnnData:
    """Cells with tables that hold pairs and downstream genes, written by hand."""
    names = ["a", "b", "c", "a", "a+b", "b+c"]
    pairs = pd.DataFrame({"gene": ["a+b", "b+c"], "gene_a": ["a", "b"], "gene_b": ["b", "c"], "group": ["x", "x"]})
    cells.uns["perturb"] = {
        "results": pd.DataFrame(
            {"gene": names, "group": ["x", "x", "x", "y/z", "x", "x"], "shift": range(6), "readout": "shift"}
        ),
        "cells": pd.DataFrame({"gene": ["a"], "group": ["x"], "cell": ["c0"], "shift": [0.0]}),
        "null": pd.DataFrame({"gene": ["a"], "group": ["x"], "null_gene": ["n"], "shift": [0.0]}),
        "interactions": pairs.assign(interaction=[0.1, 0.2]),
        "downstream": pd.DataFrame({"gene": ["a", "b"], "group": ["x", "x"], "target": ["t", "a"]}),
        "separability": pd.DataFrame({"group": ["x", "y/z"], "auroc": [0.9, 0.5], "interpretable": [True, False]}),
        "skipped": pd.DataFrame({"gene": ["d"], "group": ["all"], "reason": ["not in the model's vocabulary"]}),
    }
    return cells


def test_pairs_are_found_by_either_gene(written: AnnData) -> None:
    """A pair by its name and by each of its genes; targets are no genes asked for."""
    for genes, found in (("a", ["a+b"]), (["b"], ["a+b", "b+c"]), ("b+c", ["b+c"]), (["c", "a+b"], ["a+b", "b+c"])):
        assert sf.get.perturb_df(written, table="interactions", genes=genes)["gene"].tolist() == found
    assert sf.get.perturb_df(written, table="downstream", genes="a")["target"].tolist() == ["t"]
    assert len(sf.get.perturb_df(written, table="downstream", genes="c")) == 0


def test_tables_without_genes_are_chosen_by_group(written: AnnData) -> None:
    """Genes do not choose among groups; names that only the skipped have are known there."""
    found = sf.get.perturb_df(written, table="separability", genes="a", groups="y/z")
    assert found.to_dict("records") == [{"group": "y/z", "auroc": 0.5, "interpretable": False}]
    assert (
        sf.get.perturb_df(written, table="skipped", genes="d", groups="all")["reason"].str.contains("vocabulary").all()
    )
    with pytest.raises(KeyError, match="no 'd'"):
        sf.get.perturb_df(written, genes="d")


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        ("screen", "method='screen'"),
        ("agreement", "method='screen'"),
        ("interactions", "tuples of two names"),
        ("downstream", "downstream=20"),
        ("separability", r"Run sf\.tl\.perturb again"),
    ],
)
def test_a_table_that_was_not_made(written: AnnData, table: str, remedy: str) -> None:
    """The message says what makes it."""
    written.uns["perturb"].pop(table, None)
    with pytest.raises(KeyError, match=f"holds no table '{table}'.*{remedy}"):
        sf.get.perturb_df(written, table=table)


def test_bad_requests_list_what_there_is(perturbed: AnnData, cells: AnnData) -> None:
    """Keys, genes and groups that are not there."""
    with pytest.raises(KeyError, match="did you mean 'perturb'"):
        sf.get.perturb_df(perturbed, key="pertub")
    with pytest.raises(KeyError, match="did you mean 'tiny30'"):
        sf.get.perturb_df(perturbed, genes="tiny300")
    with pytest.raises(KeyError, match=r"no 'muscle'.*T4/T5"):
        sf.get.perturb_df(perturbed, groups="muscle")
    with pytest.raises(ValueError, match="expected one of 'results', 'cells', 'null', 'separability'"):
        sf.get.perturb_df(perturbed, table="scores")
    cells.uns.clear()
    with pytest.raises(KeyError, match=r"no 'perturb' in adata\.uns\. Run sf\.tl\.perturb\(adata, ...\) first"):
        sf.get.perturb_df(cells)
