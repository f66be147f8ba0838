"""The file of cluster summaries gives back what was packed, and refuses what it could not give back."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse


@pytest.fixture
def clusters() -> ad.AnnData:
    """Eleven clusters and 30 genes; the last gene is listed nowhere, one has no symbol."""
    random = np.random.default_rng(0)
    sizes = random.integers(5, 900, 11)
    n_cells = np.ceil(random.uniform(0.2, 1, (11, 30)) * sizes[:, None])
    listed = random.random((11, 30)) < 0.4
    listed[:, -1] = False
    extent = sparse.csr_matrix((n_cells / sizes[:, None] * listed).round(6).astype(np.float32))
    mean = sparse.csr_matrix((np.exp(random.normal(6, 3, (11, 30))) * listed).astype(np.float32))
    obs = pd.DataFrame(
        {
            "dataset": "set", "dataset_label": "a set", "accession": "GSE1", "label": "a, b",
            "description": 'one "two"', "cell_type": "FBbt_00000001", "cell_type_name": "cell",
            "stage": ["", *["FBdv_00000001"] * 10],
            "sex": ["MALE", *[""] * 10], "cell_count": sizes, "cutoff_extent": 0.2, "age_days": [30.0, *[np.nan] * 10],
        },
        index=[f"c{number}" for number in range(11)],
    )  # fmt: skip
    ids = [f"FBgn{number:07d}" for number in range(30)]
    var = pd.DataFrame({"FBgn": ids, "symbol": pd.Categorical(["", "nan", *ids[2:]])}, index=ids)
    layers = {"mean_in_expressing": mean, "extent": extent}
    return ad.AnnData(mean.multiply(extent).tocsr(), obs, var, {"source": {"commit": "abc"}}, layers=layers)


@pytest.fixture
def datasets() -> pd.DataFrame:
    return pd.DataFrame({"reference": ["FBrf1"]}, index=pd.Index(["a set"], name="dataset_label"))


def test_what_is_packed_comes_back(clusters, datasets, tmp_path):
    from scflyformer.datasets._flybase_clusters import unpacked
    from tools.cluster_summaries import STEP, packed

    np.savez_compressed(tmp_path / "file.npz", **packed(clusters, datasets))
    with np.load(tmp_path / "file.npz", allow_pickle=False) as archive:
        back = unpacked(dict(archive))
    for name, tolerance in {"mean_in_expressing": STEP / 2 + 1e-6, "extent": 1e-5}.items():
        old, new = clusters.layers[name].toarray(), back.layers[name].toarray()
        np.testing.assert_array_equal(new > 0, old > 0)
        np.testing.assert_allclose(new, old, rtol=tolerance)
    assert back.var_names.tolist() == ["FBgn0000000", "nan", *clusters.var_names[2:]]
    assert back.obs["cell_count"].tolist() == clusters.obs["cell_count"].tolist()
    assert back.obs["age_days"].tolist()[0] == 30 and back.obs["age_days"].isna().sum() == 10
    assert back.obs["stage"].isna().tolist() == [True, *[False] * 10] and back.obs["stage"].iloc[1] == "FBdv:00000001"
    assert back.obs["sex"].iloc[0] == "MALE" and back.obs["description"].iloc[0] == 'one "two"'
    assert back.obs["cell_type"].iloc[0] == "FBbt:00000001" and back.obs_names.tolist() == clusters.obs_names.tolist()
    assert back.uns["source"]["commit"] == "abc" and back.uns["datasets"].loc["a set", "reference"] == "FBrf1"


def test_shares_of_other_cells_are_refused(clusters, datasets):
    from tools.cluster_summaries import packed

    clusters.obs["cell_count"] += 1
    with pytest.raises(ValueError, match="no whole number of cells"):
        packed(clusters, datasets)


def test_layers_that_list_different_pairs_are_refused(clusters, datasets):
    from tools.cluster_summaries import packed

    clusters.layers["extent"] = sparse.csr_matrix(np.full(clusters.shape, 0.5))
    with pytest.raises(ValueError, match="different pairs"):
        packed(clusters, datasets)


def test_a_set_under_another_licence_is_refused():
    from tools.cluster_summaries import credited

    table = pd.DataFrame({
        "dataset": ["a", "b"], "label": ["A", "B"], "accession": "x", "ref": "y", "description": "z",
        "licence": ["VFBlicense_CC_BY_4_0", "VFBlicense_CC_BY_NC_4_0"],
    })  # fmt: skip
    assert credited(table, pd.Series(["a"])).index.tolist() == ["A"]
    with pytest.raises(ValueError, match="CC_BY_NC"):
        credited(table, pd.Series(["a", "b"]))
