"""The olfactory neurons are the study's, count by count, and name their source and licence."""

from __future__ import annotations

import hashlib
import os
from importlib.resources import files
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from stored import stored

from scflyformer.datasets import olfactory_neurons

SHARED = Path(os.environ.get("SCFLYFORMER_DATA", "../shared/data")) / "fly_whole" / "antenna_orn.h5ad"
#: Of the row starts, columns and values of the CSR matrix as it was read, each in eight bytes.
CHECKSUM = "e61af220a1d0d3ad62241d041c34f9a8054029b16d2a92938762a0063e22930a"


@pytest.fixture(scope="module")
def neurons():
    return olfactory_neurons()


def test_shape_and_columns(neurons):
    assert neurons.shape == (429, 17472)
    assert neurons.obs_names.is_unique and neurons.var_names.is_unique
    ids = neurons.var["FBgn"][neurons.var["FBgn"] != ""]
    assert len(ids) == 17472 - 419 and ids.str.fullmatch(r"FBgn\d{7}").all()
    assert {"Drak", "fz2", "Hnf4", "Orco"} <= set(neurons.var_names)
    obs = neurons.obs
    assert obs["stage"].value_counts().to_dict() == {"24h APF": 340, "adult": 89}
    assert obs["batch"].value_counts().to_dict() == {"P2": 158, "P1": 108, "P7": 58, "P6": 56, "P5": 49}
    assert len(obs["cell_type"].cat.categories) == 24 and obs["cell_type"].value_counts()["ORN DL5"] == 4
    assert (obs["cpm_per_read"] > 0).all()


def test_counts_are_those_that_were_read(neurons):
    x = neurons.X
    assert sp.isspmatrix_csr(x) and x.dtype == np.float32 and x.has_canonical_format
    assert (x.data >= 1).all() and (x.data % 1 == 0).all() and x.data.max() == 147_637
    bytes_ = np.concatenate([part.astype("<i8") for part in (x.indptr, x.indices, x.data)]).tobytes()
    assert hashlib.sha256(bytes_).hexdigest() == CHECKSUM


def test_source_and_licence_are_named(neurons):
    source = neurons.uns["source"]
    assert source["licence"] == "MIT" and source["geo"] == "GSE162121" and "McLaughlin" in source["paper"]
    assert source["repository"].endswith("ORN_seq") and len(source["commit"]) == 40
    assert "Copyright (c) 2020" in source["licence_text"] and "WITHOUT WARRANTY" in source["licence_text"]


@pytest.mark.skipif(not SHARED.is_file(), reason="the cells as they were read are not here")
def test_everything_is_the_source(neurons):
    original = ad.read_h5ad(SHARED)
    assert neurons.obs_names.equals(original.obs_names)
    assert neurons.var_names.tolist() == original.var_names.tolist()
    assert neurons.var["FBgn"].tolist() == original.var["FBgn"].tolist()
    assert (neurons.X != original.X).nnz == 0
    for new, old in {"cell_type": "cell_type", "stage": "age_stage", "batch": "batch"}.items():
        assert neurons.obs[new].tolist() == original.obs[old].tolist()
    np.testing.assert_array_equal(neurons.obs["cpm_per_read"], original.obs["min_step_cpm"])


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_round_trip(neurons, suffix, tmp_path):
    few, path = neurons[:5].copy(), tmp_path / f"neurons.{suffix}"
    back = stored(few, path)
    assert (back.X != few.X).nnz == 0 and back.uns["source"] == few.uns["source"]


def test_each_call_gives_its_own(neurons):
    other = olfactory_neurons()
    other.X.data[:] = 0
    other.uns["source"]["licence"] = ""
    assert olfactory_neurons().X.data.min() == 1 and olfactory_neurons().uns["source"]["licence"] == "MIT"


@pytest.mark.parametrize("name", ["_COUNTS", "_LICENCE"])
def test_a_missing_file_is_named(monkeypatch, name):
    monkeypatch.setattr(f"scflyformer.datasets._olfactory_neurons.{name}", "gone.file")
    with pytest.raises(FileNotFoundError, match=r"gone\.file is missing; .* install"):
        olfactory_neurons()


def test_file_is_small_and_plain():
    path = files("scflyformer.datasets") / "olfactory_neurons.npz"
    assert path.stat().st_size < 1.4e6
    with np.load(path, allow_pickle=False) as archive:  # fails on pickled objects
        assert all(archive[name].dtype != object for name in archive.files)
