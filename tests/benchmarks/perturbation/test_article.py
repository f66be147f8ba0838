"""The article's genes: unknown stays unknown, drawn cells are like their clusters, shifts are the package's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scflyformer as sf

LABEL = "outer photoreceptor cell"


@pytest.fixture(scope="module")
def pair():
    """The clusters of outer photoreceptors at 30 and 70 days, 2 × genes."""
    clusters = sf.datasets.flybase_clusters()
    of_type = clusters[(clusters.obs["cell_type_name"] == LABEL) & (clusters.obs["sex"] == "MIXED")]
    return of_type[of_type.obs["age_days"].isin([30, 70])].copy()


def test_a_gene_that_is_not_listed_is_unknown(pair, monkeypatch):
    from benchmarks.perturbation import article

    means = pair.X.toarray()
    late = pair.var_names[(means[0] == 0) & (means[1] > 0)][0]
    monkeypatch.setattr(article, "GENES", ("Drak", late))
    table = article.over_ages(LABEL).set_index(["gene", "age"])
    assert table.loc[("Drak", 30), "mean"] == pair[:, "Drak"].X.toarray()[0, 0]
    assert table.loc[("Drak", 70), "share"] == pair[:, "Drak"].layers["extent"].toarray()[1, 0]
    assert table.loc[("Drak", 70), "nuclei"] == pair.obs["cell_count"].iloc[1]
    assert np.isnan(table.loc[(late, 30), "mean"]) and np.isnan(table.loc[(late, 30), "share"])
    assert table.loc[(late, 70), "mean"] > 0


def test_drawn_cells_have_the_means_of_their_cluster(pair):
    from benchmarks.perturbation.article import drawn_cells

    cells = drawn_cells(LABEL, "listed genes", 150)
    means = pair.X.toarray()
    both = (means > 0).all(0)
    assert list(cells.var["symbol"]) == list(pair.var_names[both])
    np.testing.assert_allclose(cells.var["log_fc"], np.log2(means[1, both] / means[0, both]), rtol=1e-5)
    for age, mean in zip((30, 70), means[:, both], strict=True):
        counts = cells[(cells.obs["age"] == age).to_numpy()].X
        assert counts.shape[0] == 150 and (counts.data == np.rint(counts.data)).all()
        share, expected = counts.sum(0).A1 / counts.sum(), mean / mean.sum()
        many = expected > 1e-3
        np.testing.assert_allclose(share[many], expected[many], rtol=0.35)
    again, other = drawn_cells(LABEL, "listed genes", 150), drawn_cells(LABEL, "listed genes", 150, seed=1)
    assert (again.X != cells.X).nnz == 0 and (other.X != cells.X).nnz > 0


def test_what_is_filled_in_has_no_change_with_age(pair):
    from benchmarks.perturbation.article import drawn_cells

    cells = drawn_cells(LABEL, "all genes", 20)
    unknown = (pair[:, list(cells.var["symbol"])].X.toarray() == 0).any(0)
    assert 0.2 < unknown.mean() < 0.9 and cells.var["log_fc"].isna().to_numpy().tolist() == unknown.tolist()
    assert cells.X[:, unknown].sum() > 0  # they are drawn all the same


def test_nuclei_stand_beside_drawn_cells_on_the_genes_of_both(tmp_path):
    from benchmarks.perturbation.article import drawn_cells, with_nuclei

    drawn = drawn_cells(LABEL, "listed genes", 10)
    genes = [*drawn.var_names[:30], "FBgn9999999"]
    obs = pd.DataFrame({"cell_type": [LABEL, "other"] * 12, "batch": ["a"] * 20 + ["b"] * 4})
    obs.index = [f"n{number}" for number in range(24)]
    var = pd.DataFrame({"FBgn": genes}, index=[f"g{number}" for number in range(31)])
    ad.AnnData(sparse.csr_matrix(np.ones((24, 31), dtype=np.float32)), obs=obs, var=var).write_h5ad(tmp_path / "h.h5ad")
    joined = with_nuclei(drawn, tmp_path / "h.h5ad", LABEL, most=7)
    assert joined.obs["age"].value_counts().to_dict() == {30: 10, 70: 10, 5: 9}  # 7 of library a, 2 of b
    assert joined.var_names.tolist() == genes[:30]
    assert joined.var["symbol"].tolist() == drawn.var["symbol"].tolist()[:30]
    assert (joined[joined.obs["age"] == 30].X != drawn[drawn.obs["age"] == 30, genes[:30]].X).nnz == 0


def test_net_shifts_are_those_of_the_package():
    """Of drawn old cells; where others lose the gene, they are told from the shifts towards both."""
    from benchmarks.perturbation.article import drawn_cells
    from benchmarks.perturbation.article_deleted import deleted

    model, sizes = sf.models.load("fly-tiny"), {"n_null": 20, "max_cells": 20}
    cells = drawn_cells(LABEL, "listed genes", 20)
    found = deleted(cells, 70, model, "code", **sizes)
    results = sf.get.perturb_df(cells, readout="net_shift")
    columns = ["n_cells", "n_samples", "shift", "ci_low", "ci_high", "n_null"]
    table = pd.DataFrame(found["rows"])
    assert table["gene"].tolist() == ["Drak", "fz2", "Hnf4"] == results["gene"].tolist()
    np.testing.assert_allclose(table[columns], results[columns].astype(float), rtol=1e-4, atol=1e-9)
    null = sf.get.perturb_df(cells, table="null").query("gene == 'Drak'")
    assert table["beyond"][0] == (null["net_shift"] < table["shift"][0]).mean()
    assert -1 <= found["spearman"] <= 1 and 20 <= found["n_matched"] <= 60 and found["auroc"] > 0.5

    cells.obs["age"] = np.where(cells.obs_names.isin([f"70-{n}" for n in range(10)]), 5, cells.obs["age"])
    table = pd.DataFrame(deleted(cells, 5, model, "code", **sizes)["rows"]).set_index("gene")
    towards, away = (sf.get.perturb_df(cells, readout=readout) for readout in ("shift", "shift_70"))
    shifts = (towards.set_index("gene")["shift"] - away.set_index("gene")["shift"])[table.index]
    np.testing.assert_allclose(table["shift"], shifts, rtol=1e-4, atol=1e-9)


def made_up(beyond: float) -> list[dict]:
    """A gene that rises with age, one that is unknown in the young; both deleted."""
    ages = pd.DataFrame({"gene": ["Drak", "fz2"] * 3, "age": [30, 30, 50, 50, 70, 70], "nuclei": 100})
    ages["mean"], ages["share"] = [10.0, np.nan, 20, 5, 40, 6], [0.3, np.nan, 0.4, 0.3, 0.5, 0.3]
    row = {"n_cells": 9, "n_samples": 1, "shift": 0.1, "ci_low": 0.0, "ci_high": 0.2, "null_mean": 0.05, "effect": 2.0}
    rows = [{"gene": gene, **row, "n_null": 100, "beyond": beyond} for gene in ("Drak", "fz2")]
    arm = {"label": LABEL, "start": 70, "read": "all genes", "draw": 1, "pooling": "code", "rows": rows}
    return [{"label": LABEL, "ages": ages.to_dict("list")}, arm | {"spearman": 0.4, "n_matched": 7, "auroc": 0.9}]


@pytest.mark.parametrize(("beyond", "words"), [(0.96, ": passes"), (0.94, ": does NOT pass")])
def test_what_is_said_of_a_gene(beyond, words):
    from benchmarks.perturbation.article_deleted import article_lines

    lines, said = article_lines(made_up(beyond))
    unknown = [line for line in lines if "not listed: unknown" in line["note"]]
    assert [line["figure"] for line in unknown] == ["fz2 at 30 days, counts per million"]
    assert np.isnan(unknown[0]["value"])
    assert all("DRAWN at 70 days" in sentence and words in sentence for sentence in said[:2])
    assert said[0].endswith("log2 +2.00, which agrees") and said[1].endswith("which is unknown")
    assert "descriptive" in said[-1]
    away = made_up(beyond)
    away[1]["rows"][0]["effect"] = -2.0
    assert article_lines(away)[1][0].endswith("which disagrees")


def test_the_part_names_each_of_its_runs_once():
    from benchmarks.perturbation.__main__ import PARTS, Options

    options = Options(Path("nowhere"), Path("nowhere"), SimpleNamespace(path="nowhere"))
    names = [name for name, _ in PARTS["article"][0](options)]
    assert len(names) == len(set(names)) and sum("ages" in name for name in names) == 2
