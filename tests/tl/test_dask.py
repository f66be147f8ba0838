"""Passing proves: lazy objects, from h5ad or zarr or chunked by hand, give what the same cells in memory give, in
threads, in other processes and on a cluster; the network is sent once, and errors come back as they are."""

from __future__ import annotations

from typing import Any

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from flat_options import pretrain

import scflyformer as sf
from scflyformer.data import _matrix

dask = pytest.importorskip("dask", reason="dask is not installed")
da = pytest.importorskip("dask.array", reason="dask is not installed")
pytest.importorskip("xarray", reason="xarray is not installed, which lazy AnnData objects need")

KEY = "X_scflyformer"
CLOSE = {"atol": 1e-5, "rtol": 0}
pytestmark = pytest.mark.filterwarnings("default")  # dask and xarray have their own


@pytest.fixture(scope="module")
def base(tiny_model) -> ad.AnnData:
    """Counts of 50 cells, two of them empty, with tokens and vectors."""
    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.6, 3, 65), (50, 65)).astype(np.float32)
    counts[[5, 49]] = 0
    var = pd.DataFrame(
        {"FBgn": [f"FBgn99{n:05d}" for n in range(1, 61)] + [f"NOTFLY{n}" for n in range(5)]},
        index=[f"tiny{n}" for n in range(1, 61)] + [f"stranger{n}" for n in range(5)],
    )
    obs = pd.DataFrame({"batch": np.repeat(["a", "b"], 25)}, index=[f"cell{n}" for n in range(50)])
    cells = ad.AnnData(sp.csr_matrix(counts), obs=obs, var=var)
    sf.pp.tokenize(cells, model=tiny_model)
    sf.tl.embed(cells, model=tiny_model)
    return cells


@pytest.fixture(scope="module")
def cluster():
    """A client of two worker processes."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    asked: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**asked) as here, distributed.Client(here) as client:
        yield client


def chunked(base: ad.AnnData, how: str, folder: Any) -> ad.AnnData:
    """Return the cells without results, lazy."""
    folder.mkdir(exist_ok=True)
    bare = ad.AnnData(base.X.copy(), obs=base.obs[["batch"]], var=base.var)
    if how == "h5ad":
        bare.write_h5ad(folder / "cells.h5ad")
        return ad.experimental.read_lazy(folder / "cells.h5ad")
    if how == "zarr":
        bare.write_zarr(folder / "cells.zarr")
        return ad.experimental.read_lazy(folder / "cells.zarr")
    if how == "dense columns":
        bare.X = da.from_array(base.X.toarray(), chunks=(20, 30))
    else:
        bare.X = da.map_blocks(
            sp.csr_matrix, da.from_array(base.X.toarray(), chunks=(20, 65)), meta=sp.csr_matrix((0, 0))
        )
    return bare


def check(found: ad.AnnData, base: ad.AnnData) -> None:
    assert isinstance(found.obsm[KEY], np.ndarray)
    np.testing.assert_allclose(found.obsm[KEY], base.obsm[KEY], **CLOSE)
    assert isinstance(found.obsm["tokens"], sp.csr_matrix)
    assert (found.obsm["tokens"] != base.obsm["tokens"]).nnz == 0
    np.testing.assert_array_equal(np.asarray(found.obs["n_tokens"]), base.obs["n_tokens"])
    for key in (KEY, "tokens"):
        assert found.uns[key]["coverage"] == base.uns[key]["coverage"]


@pytest.mark.parametrize("how", ["h5ad", "zarr", "dense columns", "csr"])
def test_lazy_objects_give_what_memory_gives(base, tiny_model, tmp_path, how):
    lazy = chunked(base, how, tmp_path)
    sf.pp.tokenize(lazy, model=tiny_model)
    with sf.settings.override(device="cpu"):
        sf.tl.embed(lazy, model=tiny_model)
    check(lazy, base)
    assert lazy.uns[KEY]["params"]["device"] == "cpu"
    assert type(lazy.X) is da.Array


def test_gene_names_of_a_lazy_column(base, tiny_model, tmp_path):
    lazy = chunked(base, "h5ad", tmp_path)
    sf.tl.embed(lazy, model=tiny_model, gene_key="FBgn")
    np.testing.assert_allclose(lazy.obsm[KEY], base.obsm[KEY], **CLOSE)


def test_log_normalised_values_and_copies(base, tiny_model, tmp_path):
    lazy = chunked(base, "csr", tmp_path)
    logged = base.X.copy()
    logged.data = np.log1p(logged.data * 1.5)
    lazy.X = da.from_array(logged.toarray(), chunks=(7, 65))
    found = sf.tl.embed(lazy, model=tiny_model, copy=True)
    assert found.uns[KEY]["coverage"]["scale"] == "log1p"
    np.testing.assert_allclose(found.obsm[KEY], base.obsm[KEY], **CLOSE)
    assert KEY not in lazy.obsm


@pytest.mark.parametrize("place", ["layer", "modality", "view", "copy"])
def test_wherever_the_lazy_matrix_stands(base, tiny_model, tmp_path, place):
    lazy, asked = chunked(base, "csr", tmp_path), {}
    expected = base.obsm[KEY]
    if place == "layer":
        lazy.layers["counts"], lazy.X, asked = lazy.X, None, {"layer": "counts"}
    elif place == "modality":
        asked = {"mod": "rna"}
        lazy = mudata.MuData({"rna": lazy})
    elif place == "view":
        lazy, expected = lazy[10:30], expected[10:30]
    else:
        lazy, asked = chunked(base, "h5ad", tmp_path), {"copy": True}
    done = sf.tl.embed(lazy, model=tiny_model, **asked) or lazy
    np.testing.assert_allclose((done["rna"] if place == "modality" else done).obsm[KEY], expected, **CLOSE)


def test_empty_chunks_and_blocks_within_a_chunk(base, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("scflyformer.data._chunks.BLOCK_CELLS", 3)
    monkeypatch.setattr("scflyformer.data._matrix.CHUNK_VALUES", 100)
    lazy = chunked(base, "dense columns", tmp_path)
    lazy.X = da.concatenate([lazy.X[:7], lazy.X[7:7], lazy.X[7:]])
    sf.tl.embed(lazy, model=tiny_model)
    np.testing.assert_allclose(lazy.obsm[KEY], base.obsm[KEY], **CLOSE)
    assert lazy.uns[KEY]["coverage"] == base.uns[KEY]["coverage"]


def test_lazy_objects_go_through_the_other_functions(cells, lively_model, tmp_path):
    """Their columns are lazy, too."""
    cells.write_h5ad(tmp_path / "cells.h5ad")
    both = cells, ad.experimental.read_lazy(tmp_path / "cells.h5ad")
    states = sorted(set(cells.obs["age"]))
    about = {"sample_key": "batch", "model": lively_model}
    for data in both:
        sf.tl.annotate(data, label_key="cell_type", n_splits=2, baselines="none", **about)
        sf.tl.perturb(
            data, genes=list(cells.var_names[:2]), state_key="age", start=states[-1], goal=states[0], n_null=5, **about
        )
    here, there = (sf.get.perturb_df(data) for data in both)
    np.testing.assert_allclose(there["shift"], here["shift"], atol=1e-5)
    assert list(both[1].obs["annotation"].to_series()) == list(cells.obs["annotation"])
    exclude = {"batch": [str(cells.obs["batch"].iloc[0])]}
    shape = {"n_layers": 1, "hidden_size": 16, "n_heads": 2, "epochs": 0.5, "device": "cpu"}
    pretrain(both[1], out=tmp_path / "model", exclude=exclude, sample_key="batch", **shape)


def test_errors_come_back_and_nothing_is_written(base, tiny_model, tmp_path):
    lazy = chunked(base, "csr", tmp_path)
    lazy.X = lazy.X.map_blocks(lambda block: -block, meta=sp.csr_matrix((0, 0)))
    with pytest.raises(ValueError, match="X holds negative values"):
        sf.tl.embed(lazy, model=tiny_model)
    assert KEY not in lazy.obsm
    assert KEY not in lazy.uns


@pytest.mark.slow
def test_the_network_is_sent_once_to_a_cluster(cluster):
    """What travels says so when it is pickled."""
    rows = da.zeros((30, 2), chunks=(1, 2))
    _matrix.map_row_blocks(rows, Pickled())
    n_times = Pickled.times
    assert 0 < n_times < 5
    assert _matrix.map_row_blocks(rows, Pickled()) == [1] * 30


class Pickled:
    """Work that counts how often it is pickled."""

    times = 0

    def __call__(self, rows: np.ndarray) -> int:
        return len(rows)

    def __reduce__(self) -> tuple:
        type(self).times += 1
        return _make_worker, ()


def _make_worker() -> Any:
    return len


@pytest.mark.slow
@pytest.mark.parametrize("how", ["h5ad", "zarr", "csr"])
def test_a_cluster_of_two_processes_gives_the_same(base, tiny_model, tmp_path, cluster, how):
    assert len(cluster.scheduler_info()["workers"]) == 2
    lazy = chunked(base, how, tmp_path)
    sf.pp.tokenize(lazy, model=tiny_model)
    sf.tl.embed(lazy, model=tiny_model)
    check(lazy, base)
    with dask.config.set(scheduler="threads"):
        here = chunked(base, how, tmp_path / "again")
        sf.tl.embed(here, model=tiny_model)
    np.testing.assert_allclose(lazy.obsm[KEY], here.obsm[KEY], **CLOSE)  # workers may have another number of threads
