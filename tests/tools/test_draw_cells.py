"""Cells drawn from cluster means."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit


@pytest.fixture
def clusters() -> ad.AnnData:
    """Eight clusters of one atlas, 60 genes, nothing listed below an extent of 0.2; the truth is kept beside it."""
    random = np.random.default_rng(0)
    extent = expit(random.normal(-0.5, 1.5, 60) + random.normal(0, 0.4, (8, 1)) + random.normal(0, 0.8, (8, 60)))
    mean = np.exp(random.normal(6, 1, 60) + random.normal(0, 0.1, (8, 1)))
    listed = extent >= 0.2
    obs = pd.DataFrame(
        {
            "dataset_label": "atlas", "cell_type": "FBbt_1", "cell_type_name": "cell", "cutoff_extent": 0.2,
            "cell_count": [2, 10, 400, 30, 30, 30, 30, 30],
        },
        index=[f"cluster{number}" for number in range(8)],
    )  # fmt: skip
    names = [f"FBgn{number:07d}" for number in range(60)]
    var = pd.DataFrame({"FBgn": names, "symbol": names}, index=names)
    layers = {"extent": sparse.csr_matrix(extent * listed), "mean_in_expressing": sparse.csr_matrix(mean * listed)}
    adata = ad.AnnData(sparse.csr_matrix(extent * mean * listed), obs=obs, var=var, layers=layers)
    adata.uns = {"source": {"paper": "a paper", "licence": "CC BY 4.0"}, "extent": extent, "mean": mean}
    return adata


def test_what_is_below_the_cutoff_is_unknown_not_zero(clusters):
    """It is expected above zero and below the cut-off, near the truth; what is listed stays."""
    from tools.draw_cells import expected_extent

    listed, truth = clusters.layers["extent"].toarray(), clusters.uns["extent"]
    genes = (listed > 0).any(0)
    listed, truth = listed[:, genes], truth[:, genes]
    found, unknown = expected_extent(listed, np.full(8, 0.2)), listed == 0
    assert unknown.mean() > 0.2
    np.testing.assert_array_equal(found[~unknown], listed[~unknown])
    assert found[unknown].min() > 0 and found[unknown].max() <= 0.2
    assert np.corrcoef(found[unknown], truth[unknown])[0, 1] > 0.4
    assert found[unknown].mean() == pytest.approx(truth[unknown].mean(), abs=0.03)


def test_means_that_are_not_listed(clusters):
    from tools.draw_cells import expected_mean

    listed, truth = clusters.layers["mean_in_expressing"].toarray(), clusters.uns["mean"]
    genes = (listed > 0).any(0)
    np.testing.assert_allclose(expected_mean(listed[:, genes]), truth[:, genes], rtol=1e-3)


def test_drawn_counts_have_the_dispersion_asked_for(clusters):
    """And the means of the cluster."""
    from tools.draw_cells import draw, measured_dispersion

    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(50))
    counts = draw(shares, 3000, 0.4, random)
    np.testing.assert_allclose(counts.sum(0).A1 / counts.sum(), shares, atol=0.003)
    obs = pd.DataFrame({"cell_type": "a", "batch": "b"}, index=np.arange(3000).astype(str))
    assert np.median(measured_dispersion(ad.AnnData(counts, obs=obs))) == pytest.approx(0.4, abs=0.05)


def test_an_atlas(clusters):
    from tools.draw_cells import drawn_atlas

    drawn = drawn_atlas(clusters, 0.3, np.random.default_rng(0))
    assert drawn.n_vars == int((clusters.layers["extent"].toarray() > 0).any(0).sum()) < 60
    assert drawn.obs["cluster"].value_counts()[["cluster0", "cluster1", "cluster2"]].tolist() == [5, 10, 40]
    assert set(drawn.obs["batch"]) == {"atlas"} and (drawn.X.data == np.rint(drawn.X.data)).all()
    assert "not measured" in drawn.uns["source"]["note"] and drawn.uns["source"]["licence"] == "CC BY 4.0"
