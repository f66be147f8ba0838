"""Human orthologues stand beside the genes of every table that has a row for each."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scflyformer as sf

PAIRS = pd.DataFrame(
    {"fly": ["FBgn9900001", "FBgn9900030", "tiny2"], "human": ["ONE", "THIRTY", "TWO"], "score": [9, 8, 7]}
)
HUMAN = ["human_symbol", "human_score"]


@pytest.fixture
def perturbed(cells: AnnData, tiny_model) -> AnnData:
    sf.tl.perturb(
        cells, genes=["tiny1", "tiny3", ("tiny1", "tiny30")], state_key="age", start=30, goal=5, sample_key="batch",
        n_null=6, downstream="all", model=tiny_model,
    )  # fmt: skip
    return cells


def test_results_of_perturb(perturbed: AnnData) -> None:
    """Found by id; a set has those of all its genes; the other columns are as without, and nothing is written."""
    before = perturbed.uns["perturb"]["results"].copy()
    found = sf.get.perturb_df(perturbed, orthologs=PAIRS)
    pd.testing.assert_frame_equal(found.drop(columns=HUMAN), sf.get.perturb_df(perturbed))
    by_gene = found.set_index("gene_id")[HUMAN]
    assert by_gene.loc["FBgn9900001"].tolist() == ["ONE", 9]
    assert by_gene.loc["FBgn9900003", "human_symbol"] == "" and np.isnan(by_gene.loc["FBgn9900003", "human_score"])
    assert by_gene.loc["FBgn9900001+FBgn9900030"].tolist() == ["ONE+THIRTY", 8]
    pd.testing.assert_frame_equal(perturbed.uns["perturb"]["results"], before)


def test_downstream_has_those_of_the_targets(perturbed: AnnData) -> None:
    found = sf.get.perturb_df(perturbed, table="downstream", genes="tiny3", orthologs=PAIRS)
    assert set(found.loc[found["human_symbol"] != "", "target"]) == {"tiny1", "tiny30"}


def test_tables_without_a_row_per_gene(perturbed: AnnData) -> None:
    with pytest.raises(
        ValueError, match="orthologs goes with table 'results' or 'screen' or 'downstream'.*got 'cells'"
    ):
        sf.get.perturb_df(perturbed, table="cells", orthologs=PAIRS)


def test_no_gene_found_is_said(perturbed: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one gene: perhaps another species. One of them: no word."""
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    sf.get.perturb_df(perturbed, orthologs=PAIRS)
    assert said == []
    found = sf.get.perturb_df(perturbed, orthologs=PAIRS.assign(fly="AGAP000001"))
    assert (found["human_symbol"] == "").all()
    assert len(said) == 1 and "none of the 3 genes (such as FBgn9900001)" in said[0]


@pytest.mark.filterwarnings("ignore")
def test_clocks(many_cells: AnnData, tmp_path) -> None:
    """The genes of an expression clock by the name it knows them by, those of `tl.clock_genes` by id."""
    sf.tl.age_clock(many_cells, sample_key="batch", features="expression", baselines="none", save=tmp_path / "clock")
    genes = sf.get.clock_df(many_cells, table="genes", orthologs=PAIRS)
    assert dict(genes.loc[genes["human_symbol"] != "", ["gene", "human_symbol"]].to_numpy()) == {"tiny2": "TWO"}
    pd.testing.assert_frame_equal(genes.drop(columns=HUMAN), sf.get.clock_df(many_cells, table="genes"))
    symbols = PAIRS.assign(ensembl=PAIRS["fly"], symbol="tiny1", human_symbol="ONE", support_n=9).iloc[:1, 3:]
    by_symbol = sf.get.clock_df(many_cells, table="genes", orthologs=symbols)
    assert by_symbol.loc[by_symbol["human_symbol"] == "ONE", "gene"].tolist() == ["tiny1"]
    with pytest.raises(ValueError, match="orthologs goes with table 'genes'.*got 'results'"):
        sf.get.clock_df(many_cells, orthologs=PAIRS)
