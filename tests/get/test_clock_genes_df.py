"""What `tl.clock_genes` found comes back as a table."""

from __future__ import annotations

import pandas as pd
import pytest
from anndata import AnnData

import scflyformer as sf


@pytest.fixture
def found(many_cells: AnnData, tmp_path) -> AnnData:
    sf.tl.age_clock(many_cells, sample_key="batch", features="expression", baselines="none", save=tmp_path / "clock")
    sf.tl.clock_genes(many_cells, clock=tmp_path / "clock", genes=["tiny1", "tiny2", "no-such"], n_null=5, max_cells=12)
    return many_cells


@pytest.mark.filterwarnings("ignore")
def test_tables(found: AnnData) -> None:
    """Copies of what was written, numbered from 0, with human orthologues where asked for."""
    for table in ("results", "skipped"):
        got = sf.get.clock_genes_df(found, table=table)
        pd.testing.assert_frame_equal(got, found.uns["clock_genes"][table].reset_index(drop=True))
    got = sf.get.clock_genes_df(found)
    got["gene"] = "x"
    assert "x" not in set(found.uns["clock_genes"]["results"]["gene"])
    pairs = pd.DataFrame({"fly": got["gene_id"].iloc[:1], "human": ["ONE"], "score": [9]})
    human = sf.get.clock_genes_df(found, orthologs=pairs)
    assert human["human_symbol"].tolist() == ["ONE"] + [""] * (len(human) - 1) and len(human) > 1


@pytest.mark.filterwarnings("ignore")
def test_bad_requests(found: AnnData) -> None:
    with pytest.raises(ValueError, match="expected one of 'results', 'skipped'"):
        sf.get.clock_genes_df(found, table="genes")
    with pytest.raises(ValueError, match="orthologs goes with table 'results'.*got 'skipped'"):
        sf.get.clock_genes_df(found, table="skipped", orthologs="human")
    with pytest.raises(KeyError, match="did you mean 'clock_genes'"):
        sf.get.clock_genes_df(found, key="clock_gene")
    with pytest.raises(KeyError, match=r"holds no results of tl\.clock_genes but of tl\.age_clock"):
        sf.get.clock_genes_df(found, key="age_clock")
