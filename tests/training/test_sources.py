"""Passing proves: sources are read as they are, files without loading their values, and doubtful ones are refused."""

from __future__ import annotations

import shutil
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata_updates import no_pull

from scflyformer.data._matrix import raw_chunks
from scflyformer.training._sources import (
    CorpusRequest,
    file_hash,
    object_hash,
    open_file,
    open_sources,
    repair_mojibake,
)

NOTHING = CorpusRequest()


@pytest.mark.parametrize(
    ("broken", "meant"),
    [
        ("nAChRÎ±1", "nAChRα1"),
        ("ActÎ²", "Actβ"),
        ("Ïƒ1", "σ1"),  # read as Windows-1252
        ("Î²'COP", "β'COP"),
        ("Actβ", "Actβ"),
        ("fz2", "fz2"),
        ("café", "café"),
        ("", ""),
        ("Î", "Î"),
    ],
)
def test_mojibake_is_repaired_and_nothing_else(broken, meant):
    assert repair_mojibake(broken) == meant
    assert repair_mojibake(meant) == meant


def test_symbols_are_repaired_and_ids_left_alone(make_source, describe):
    adata = make_source(np.ones((2, 2)), ["nAChRÎ±1", "fz2"])
    adata.var["FBgn"] = ["FBgn1", "FBgn2"]
    found = describe("head", adata, gene_key="FBgn")
    assert found.symbols.tolist() == ["nAChRα1", "fz2"]
    assert found.gene_ids.tolist() == ["FBgn1", "FBgn2"]
    assert describe("head", adata).gene_ids.tolist() == ["nAChRÎ±1", "fz2"]


def test_a_column_of_symbols_is_found(make_source, describe):
    adata = make_source(np.ones((2, 2)), ["FBgn1", "FBgn2"])
    adata.var["symbol"] = pd.Categorical(["Drak", None])
    assert describe("a", adata).symbols.tolist() == ["Drak", ""]
    assert describe("a", adata, gene_key="symbol").symbols.tolist() == ["FBgn1", "FBgn2"]


def test_a_gene_without_id_is_no_gene_and_nan_is_one(make_source, describe):
    adata = make_source(np.ones((2, 4)), list("abcd"))
    adata.var["FBgn"] = ["nan", None, np.nan, ""]
    assert describe("a", adata, gene_key="FBgn").gene_ids.tolist() == ["nan", "", "", ""]
    adata.var["none"] = pd.Series([None] * 4, index=adata.var_names, dtype=object)
    with pytest.raises(ValueError, match=r"a: var\['none'\] holds no gene ids"):
        describe("a", adata, gene_key="none")


def test_exclude_takes_values_of_any_type(make_source, describe):
    adata = make_source(np.ones((6, 2)), ["a", "b"], lane=[1, 1, 2, 2, 3, 3], sex=list("mfmfmf"))
    found = describe("x", adata, exclude={"lane": ["1", 2], "sex": ["f"], "absent": ["q"]})
    assert found.used.tolist() == [False] * 4 + [True, False]
    assert found.record == {"name": "x", "n_cells": 6, "n_used": 1, "n_genes": 2}
    with pytest.raises(ValueError, match=r"x: exclude=.* leaves none of its 6 cells"):
        describe("x", adata, exclude={"lane": [1, 2, 3]})


@pytest.mark.parametrize(
    ("exclude", "error", "match"),
    [
        ({"batch": ["s9"]}, ValueError, r"exclude names \['s9'\] in obs\['batch'\].*there are \['s1', 's2', 's3'\]"),
        ({"bacth": ["s1"]}, KeyError, r"exclude: no 'bacth'.*did you mean 'batch'"),
    ],
)
def test_excluding_what_is_not_there(make_source, exclude, error, match):
    """A misspelt library must not end up in the training set."""
    given = [make_source(np.ones((2, 2)), ["a", "b"], batch=lanes) for lanes in (["s1", "s2"], ["s2", "s3"])]
    with pytest.raises(error, match=match), open_sources(given, CorpusRequest(exclude=exclude)):
        pass


def test_a_value_in_one_source_is_enough(make_source):
    given = [
        make_source(np.ones((2, 2)), ["a", "b"], batch=["s1", "s2"]),
        make_source(np.ones((2, 2)), ["a", "b"], batch=["s2", "s3"]),
        make_source(np.ones((2, 2)), ["a", "b"]),
    ]
    with open_sources(given, CorpusRequest(exclude={"batch": ["s1", "s3"]})) as found:
        assert [source.used.tolist() for source in found] == [[False, True], [True, False], [True, True]]
        assert [source.name for source in found] == ["object-0", "object-1", "object-2"]


def test_samples_carry_their_source(make_source, describe):
    adata = make_source(np.ones((3, 2)), ["a", "b"], batch=[1, 2, 2])
    assert describe("x", adata, sample_key="batch").samples.tolist() == ["x:1", "x:2", "x:2"]
    assert describe("x", adata).samples.tolist() == ["", "", ""]
    adata.obs["batch"] = pd.Categorical(["s1", None, "s2"])
    with pytest.raises(ValueError, match=r"x: obs\['batch'\] is missing for 1 cells"):
        describe("x", adata, sample_key="batch")
    adata.obs["use"] = ["yes", "no", "yes"]
    found = describe("x", adata, sample_key="batch", exclude={"use": ["no"]})
    assert found.samples[found.used].tolist() == ["x:s1", "x:s2"]
    with pytest.raises(KeyError, match=r"sample_key: no 'bach'.*'batch'"):
        describe("x", adata, sample_key="bach")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An object with X in CSR and layers in CSC and dense, and its h5ad and zarr files."""
    from anndata import AnnData

    counts = np.random.default_rng(0).poisson(1, (30, 12)).astype(np.float32)
    obs = pd.DataFrame({"batch": ["a", "b"] * 15}, index=[f"cell{n}" for n in range(30)])
    adata = AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{n}" for n in range(12)]))
    adata.layers["csc"] = sp.csc_matrix(adata.X * 2)
    adata.layers["dense"] = adata.X.toarray() * 3
    folder = tmp_path_factory.mktemp("files")
    adata.write_h5ad(folder / "cells.h5ad")
    adata.write_zarr(folder / "cells.zarr")
    return adata, folder


@pytest.fixture
def on_disk(written, tmp_path):
    """Copies of them."""
    adata, folder = written
    shutil.copytree(folder, tmp_path / "files")
    return adata.copy(), tmp_path / "files"


@pytest.mark.parametrize("file", ["cells.h5ad", "cells.zarr"])
@pytest.mark.parametrize("layer", [None, "csc", "dense"])
def test_files_open_without_being_read(on_disk, file, layer):
    adata, folder = on_disk
    with ExitStack() as stack:
        found = open_file(folder / file, mod=None, stack=stack)
        matrix = found.X if layer is None else found.layers[layer]
        assert not isinstance(matrix, np.ndarray)
        assert not sp.issparse(matrix)
        total = sum(rows.data.sum() for rows in raw_chunks(found, layer))
        assert total == (adata.X if layer is None else adata.layers[layer]).sum()
        pd.testing.assert_frame_equal(found.obs, adata.obs, check_categorical=False, check_dtype=False)
        assert found.var_names.tolist() == adata.var_names.tolist()


def test_mudata_on_disk(on_disk):
    import mudata

    adata, folder = on_disk
    with no_pull():
        data = mudata.MuData({"rna": adata})
        data.write_h5mu(folder / "cells.h5mu")
    with ExitStack() as stack:
        assert open_file(folder / "cells.h5mu", mod="rna", stack=stack).shape == adata.shape
        with pytest.raises(ValueError, match=r"holds a MuData; name the modality.*\['rna'\]"):
            open_file(folder / "cells.h5mu", mod=None, stack=stack)
        with pytest.raises(KeyError, match=r"no 'rnaa'.*'rna'"):
            open_file(folder / "cells.h5mu", mod="rnaa", stack=stack)
        with pytest.raises(ValueError, match="leave mod out"):
            open_file(folder / "cells.h5ad", mod="rna", stack=stack)


@pytest.mark.parametrize("kind", ["text", "truncated", "foreign", "folder", "hdf5"])
def test_what_is_no_h5ad(on_disk, kind):
    import h5py

    folder = on_disk[1]
    path = folder / "bad.h5ad"
    if kind == "text":
        path.write_text("gene,cell\n")
    elif kind == "truncated":
        path.write_bytes((folder / "cells.h5ad").read_bytes()[:4000])
    elif kind == "foreign":
        path.write_bytes(b"\x00" * 10_000)
    elif kind == "folder":
        path.mkdir()
    else:
        with h5py.File(path, "w") as file:
            file["numbers"] = np.arange(3)
    with ExitStack() as stack, pytest.raises(ValueError, match=r"bad\.h5ad is not a readable h5ad file or zarr store"):
        open_file(path, mod=None, stack=stack)
    with ExitStack() as stack, pytest.raises(FileNotFoundError, match=r"There is no .*gone.h5ad"):
        open_file(folder / "gone.h5ad", mod=None, stack=stack)


def test_files_of_one_name_are_told_apart(on_disk):
    _, folder = on_disk
    (folder / "b").mkdir()
    (folder / "cells.h5ad").rename(folder / "b" / "cells.h5ad")
    with open_sources([str(folder / "b" / "cells.h5ad"), folder / "cells.zarr"], NOTHING) as found:
        assert [source.name for source in found] == ["cells", "cells-1"]
        assert all(len(source.record["sha256"]) == 64 for source in found)


def test_hashes_follow_content(on_disk):
    adata, folder = on_disk
    before = file_hash(folder / "cells.zarr"), object_hash(adata, None)
    assert before == (file_hash(folder / "cells.zarr"), object_hash(adata.copy(), None))
    changed = adata.copy()
    changed.X[0, 0] += 1
    assert object_hash(changed, None) != before[1]
    assert object_hash(adata[::-1].copy(), None) != before[1]
    assert object_hash(adata[:, ::-1].copy(), None) != before[1]
    assert object_hash(adata, "csc") != before[1]
    (folder / "cells.zarr" / "more").write_text("x")
    assert file_hash(folder / "cells.zarr") != before[0]


def test_sources_without_a_common_gene_are_pointed_out(make_source, monkeypatch):
    from scflyformer import _log

    said = []
    monkeypatch.setattr(_log, "warning", said.append)
    one, other = make_source(np.ones((2, 2)), ["FBgn1", "FBgn2"]), make_source(np.ones((2, 2)), ["Drak", "fz2"])
    with open_sources([one, other], NOTHING):
        assert len(said) == 2
        assert "object-1 shares no gene with the other sources (its first: ['Drak', 'fz2'])" in said[1]
    said.clear()
    with open_sources([one, one], NOTHING), open_sources([other], NOTHING):
        assert not said
