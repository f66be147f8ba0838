"""The cluster summaries are FlyBase's, say what is unknown, and name their source."""

from __future__ import annotations

import os
import time
from importlib.resources import files
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from stored import stored

from scflyformer.datasets import flybase_clusters
from scflyformer.ontology._terms import fbbt

SHARED = Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data")) / "fly_whole" / "flybase_clusters_1042.h5ad"


@pytest.fixture(scope="module")
def clusters():
    return flybase_clusters()


def test_shape_and_columns(clusters):
    assert clusters.shape == (1042, 10569)
    assert clusters.obs_names.is_unique and clusters.var_names.is_unique
    assert clusters.var["FBgn"].str.fullmatch(r"FBgn\d{7}").all() and clusters.var["FBgn"].is_unique
    assert {"Drak", "fz2", "Hnf4"} <= set(clusters.var_names)
    obs = clusters.obs
    assert obs["cell_count"].dtype == np.int64 and (obs["cell_count"] > 0).all()
    assert obs["age_days"].value_counts().to_dict() == {50: 270, 30: 99, 70: 95}
    assert obs["sex"].cat.categories.tolist() == ["FEMALE", "MALE", "MIXED"] and obs["sex"].isna().any()
    assert obs["stage"].dropna().astype(str).str.fullmatch(r"FBdv:\d{8}").all() and obs["stage"].isna().any()
    assert obs["label"].is_unique


def test_terms_are_those_of_the_ontology(clusters):
    terms = clusters.obs[["cell_type", "cell_type_name"]].drop_duplicates()
    assert len(terms) == 269
    assert all(fbbt().names[term] == name for term, name in terms.itertuples(index=False))


def test_unknown_pairs_have_no_entry(clusters):
    """What is known is above zero and above the cluster's cut-off."""
    extent, mean = clusters.layers["extent"], clusters.layers["mean_in_expressing"]
    for matrix in (clusters.X, extent, mean):
        assert sp.isspmatrix_csr(matrix) and matrix.dtype == np.float32 and matrix.has_canonical_format
        assert matrix.nnz == 1_389_874 and (matrix.data > 0).all()
        assert np.array_equal(matrix.indices, mean.indices)
    rows = np.repeat(np.arange(clusters.n_obs), np.diff(extent.indptr))
    assert (extent.data >= clusters.obs["cutoff_extent"].to_numpy()[rows] - 5e-4).all()
    assert extent.data.max() <= 1
    np.testing.assert_allclose(clusters.X.data, mean.data * extent.data, rtol=1e-6)


def test_shares_are_whole_numbers_of_cells(clusters):
    extent = clusters.layers["extent"]
    cells = extent.data * np.repeat(clusters.obs["cell_count"].to_numpy(), np.diff(extent.indptr))
    np.testing.assert_allclose(cells, cells.round(), atol=0.01)


def test_the_aging_atlas_has_92_types_at_three_ages(clusters):
    aging = clusters.obs[clusters.obs["age_days"].notna() & (clusters.obs["sex"] == "MIXED")]
    assert not aging.duplicated(["cell_type", "age_days"]).any()
    assert (aging.groupby("cell_type", observed=True)["age_days"].nunique() == 3).sum() == 92


def test_source_and_licence_are_named(clusters):
    source, sets = clusters.uns["source"], clusters.uns["datasets"]
    assert source["licence"] == "CC BY 4.0" and "VirtualFlyBrain" in source["repository"] and source["commit"]
    assert "unknown, not zero" in source["note"] and "0.025 %" in source["changes"]
    assert set(sets.index) == set(clusters.obs["dataset_label"]) and sets["reference"].str.startswith("FBrf").all()


@pytest.mark.skipif(not SHARED.is_file(), reason="the summaries as they were read are not here")
def test_values_are_flybases(clusters):
    original = ad.read_h5ad(SHARED)
    assert clusters.obs_names.equals(original.obs_names)
    assert clusters.var["FBgn"].tolist() == original.var["FBgn"].tolist()
    for name, (relative, absolute) in {"mean_in_expressing": (2.51e-4, 0), "extent": (0, 6e-7)}.items():
        new, old = clusters.layers[name], original.layers[name]
        assert np.array_equal(new.indices, old.indices) and np.array_equal(new.indptr, old.indptr)
        np.testing.assert_allclose(new.data, old.data, rtol=relative, atol=absolute)
    for name in ("cell_count", "cutoff_extent", "label", "dataset_label"):
        assert clusters.obs[name].tolist() == original.obs[name].tolist()


@pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning")  # anndata announces its next default format
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_round_trip(clusters, suffix, tmp_path):
    few, path = clusters[:5].copy(), tmp_path / f"clusters.{suffix}"
    back = stored(few, path)
    assert (back.layers["extent"] != few.layers["extent"]).nnz == 0
    assert back.uns["source"] == few.uns["source"]
    assert back.uns["datasets"].equals(few.uns["datasets"])


def test_each_call_gives_its_own(clusters):
    begin = time.perf_counter()
    other = flybase_clusters()
    assert time.perf_counter() - begin < 5
    other.X.data[:] = 0
    other.obs["cell_count"] = 0
    assert flybase_clusters().X.data.min() > 0 and (flybase_clusters().obs["cell_count"] > 0).all()


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setattr("scflyformer.datasets._flybase_clusters._SUMMARIES", "gone.npz")
    with pytest.raises(FileNotFoundError, match=r"gone\.npz is missing; .* install"):
        flybase_clusters()


def test_file_is_small_and_plain():
    path = files("scflyformer.datasets") / "flybase_clusters.npz"
    assert path.stat().st_size < 5e6
    with np.load(path, allow_pickle=False) as archive:  # fails on pickled objects
        assert all(archive[name].dtype != object for name in archive.files)
