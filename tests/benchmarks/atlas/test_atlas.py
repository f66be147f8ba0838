"""The made-up atlas has the shape asked for and opens as any file does; the scaling table holds what was run."""

from __future__ import annotations

import sys

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

N_CELLS, N_GENES, PER_CELL = 300, 3000, 200


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sets like those of the Fly Cell Atlas, which share 20 of their 30 genes, and rates of 2,500 others."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "fly").mkdir()
    (folder / "tables").mkdir()
    random = np.random.default_rng(0)
    for number, tissue in enumerate(["head", "body"]):
        counts = sparse.csr_matrix(random.poisson(random.gamma(1, 1, (80, 1)), (80, 30)).astype(np.float32))
        genes = [f"panel{gene + 10 * number}" for gene in range(30)]
        var = pd.DataFrame({"FBgn": [f"FBgn{gene.removeprefix('panel'):0>7}" for gene in genes]}, index=genes)
        obs = pd.DataFrame({"cell_type": ["A", "B"] * 40, "sex": ["female"] * 30 + ["male"] * 50})
        obs.index = obs.index.astype(str)
        ad.AnnData(counts, obs=obs, var=var).write_h5ad(folder / "fly" / f"fca_{tissue}.h5ad")
    levels = pd.DataFrame(random.exponential(0.1, (2500, 3)), columns=["head", "body", "gut"])
    levels.index = [f"other{gene}" for gene in range(2500)]
    levels.to_csv(folder / "tables" / "fca_tissue_mean_expr_17tissues.csv.gz")
    return folder


def made(out, data, **changes):
    from benchmarks.atlas.make import make_atlas

    make_atlas(out, data=data, **{"n_cells": N_CELLS, "n_genes": N_GENES, "per_cell": PER_CELL} | changes)
    return out


@pytest.mark.parametrize("compression", ["gzip", None])
@pytest.mark.parametrize("real", [True, False])
def test_file(data, tmp_path, monkeypatch, real, compression):
    monkeypatch.setattr("benchmarks.atlas.make.PIECE", 128)  # three pieces
    file = made(tmp_path / "new" / "atlas.h5ad", data if real else tmp_path, compression=compression)
    assert [path.name for path in file.parent.iterdir()] == ["atlas.h5ad"]
    adata = ad.read_h5ad(file)
    assert adata.shape == (N_CELLS, N_GENES) and adata.X.has_canonical_format
    assert adata.X.dtype == np.float32 and (adata.X.data > 0).all() and (adata.X.data % 1 == 0).all()
    n_detected = adata.X.getnnz(axis=1)
    assert n_detected.mean() == pytest.approx(PER_CELL, rel=0.1) and n_detected.std() > 0.2 * PER_CELL
    np.testing.assert_allclose(adata.obs["total_counts"], adata.X.sum(axis=1).A1)
    assert adata.obs_names.is_unique and adata.var_names.is_unique
    assert list(adata.obs) == ["tissue", "cell_type", "sex", "age", "sample", "total_counts"]
    assert (adata.obs.groupby("sample", observed=True)[["tissue", "age", "sex"]].nunique() == 1).all(axis=None)
    assert ("no real data" in adata.uns["atlas"]["source"]) != real
    backed = ad.read_h5ad(file, backed="r")
    assert backed.isbacked and (backed.X[100:200] != adata.X[100:200]).nnz == 0
    pd.testing.assert_frame_equal(backed.obs, adata.obs)
    with h5py.File(file) as opened:
        kinds = {name: opened["X"][name].dtype for name in opened["X"]}
        assert kinds == {"data": np.float32, "indices": np.int32, "indptr": np.int64}
        assert opened["X/data"].compression == compression and len(opened["X/data"]) == adata.X.nnz
    adata.write_h5ad(tmp_path / "again.h5ad")


def test_panel_genes_are_those_of_real_cells(data, tmp_path):
    adata = ad.read_h5ad(made(tmp_path / "atlas.h5ad", data))
    assert adata.var.loc["panel7", "FBgn"] == "FBgn0000007"
    assert sum(adata.var_names.str.startswith("unmeasured")) == N_GENES - 2500 - 40
    shared = [f"panel{gene}" for gene in range(10, 30)]
    real = [ad.read_h5ad(data / "fly" / f"fca_{tissue}.h5ad")[:, shared].X.mean() for tissue in ("head", "body")]
    kept = adata[:, shared].X.mean() / np.mean(real)
    assert 0.7 < kept < 1, "a part of the counts is left out, and nothing added"
    head = adata[adata.obs["tissue"] == "head"]
    assert 0 <= head[:, [f"panel{gene}" for gene in range(30, 40)]].X.mean() < 0.1, "not in the head's panel, no rate"


def test_seed_decides(data, tmp_path):
    first, again, other = (ad.read_h5ad(made(tmp_path / f"{n}.h5ad", data, seed=s)) for n, s in enumerate([1, 1, 2]))
    assert (first.X != again.X).nnz == 0 and (first.obs == again.obs).all(axis=None)
    assert (first.X != other.X).nnz


def test_few_genes_a_cell(data, tmp_path):
    adata = ad.read_h5ad(made(tmp_path / "atlas.h5ad", data, per_cell=12, n_genes=100))
    assert adata.X.getnnz(axis=1).mean() == pytest.approx(12, rel=0.1)


def test_nothing_left_on_failure(data, tmp_path, monkeypatch):
    out = tmp_path / "out" / "atlas.h5ad"
    with pytest.raises(ValueError, match="0 cells"):
        made(out, data, n_cells=0)
    with pytest.raises(ValueError, match="at most half"):
        made(out, data, per_cell=N_GENES)
    monkeypatch.setattr("benchmarks.atlas.make._obs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(out, data)
    assert not list(out.parent.iterdir())


def test_scale_table(data, tmp_path, monkeypatch, capfd):
    """Files of other sizes are made once, each step and size runs, and the whole is said to be extrapolated."""
    from benchmarks.atlas import __main__ as atlas_scale

    file = made(tmp_path / "atlas.h5ad", tmp_path, n_cells=200)
    command = f"atlas_scale.py {file} --data {tmp_path} --sizes 100 --steps tokenize --whole --model fly-tiny --cold"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--threads", "1", "--out", str(tmp_path / "out")])
    atlas_scale.main()
    table = pd.read_csv(tmp_path / "out" / "atlas_scale.tsv", sep="\t")
    assert table["cells"].tolist() == [100, 200] and (table["step"] == "tokenize").all()
    assert (table["peak memory (GB)"] > 0.05).all() and (table["result (GB)"] > 0).all()
    np.testing.assert_allclose(table["cells/s"], table["cells"] / table["seconds"], rtol=1e-3)
    said = capfd.readouterr().out
    assert "under 3" in said and "NOT" not in said and said == (tmp_path / "out" / "atlas_scale.md").read_text() + "\n"
    assert ad.read_h5ad(tmp_path / "atlas_100_seed0.h5ad", backed="r").shape == (100, N_GENES)


def test_smaller_file_of_other_data_is_refused(data, tmp_path):
    from benchmarks.atlas.__main__ import smaller

    file = made(tmp_path / "atlas.h5ad", data)
    with pytest.raises(SystemExit, match="check --data"):
        smaller(file, 100, data=tmp_path, work=tmp_path)
    assert [path.name for path in tmp_path.glob("*.h5ad")] == ["atlas.h5ad"]


@pytest.mark.parametrize("dense", [False, True])
def test_embed_in_this_process(tiny_model, cells, tmp_path, dense):
    """A file that `make_atlas` did not make: its first cells are taken."""
    from argparse import Namespace

    from benchmarks.atlas import __main__ as atlas_scale

    cells.X = cells.X.toarray() if dense else sparse.csr_matrix(cells.X)
    cells.write_h5ad(tmp_path / "some.h5ad")
    file = atlas_scale.smaller(tmp_path / "some.h5ad", 30, data=tmp_path, work=tmp_path)
    options = {"model": str(tiny_model), "gene_key": None, "dtype": "float32", "device": "cpu"}
    row = atlas_scale.one(Namespace(one="embed", file=file, threads=1, cold=False, **options))
    assert row["cells"] == 30 and row["result (GB)"] == pytest.approx(30 * 32 * 4 / 1e9, rel=1)
    with pytest.raises(SystemExit, match="has 30 cells; 60 were asked"):
        atlas_scale.smaller(file, 60, data=tmp_path, work=tmp_path)


def test_growth_is_a_line():
    from benchmarks.atlas.report import growth, table, verdict

    rows = [
        {"step": "embed", "cells": n, "seconds": 2 + n / 100, "cells/s": n / (2 + n / 100), "peak memory (GB)": 1.5}
        for n in (1000, 2000, 4000)
    ]
    said = growth(rows, n_cells=60_000)
    assert "2.0 s + 10.00 s per 1,000 cells" in said and "over those at 1,000: 1.14" in said
    assert "not measured**, to 60,000 cells: 10.0 minutes, 1.5 GB" in said
    assert table(rows).splitlines()[2] == "| embed | 1,000 | 12.0 | 83 | 1.50 |"
    assert "(NOT under 3) and 1.50 GB (under 4)" in verdict(rows[0] | {"seconds": 200.0})
