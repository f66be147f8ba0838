"""The atlas's file becomes what the tools read, its own columns stay, and what is no such file is said to be none."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scflyformer as sf

N_CELLS = 120


def atlas(**changes) -> ad.AnnData:
    """Cells with the columns that the atlas's file has; ``changes`` of columns, None to leave one out."""
    random = np.random.default_rng(0)
    counts = random.poisson(1, (N_CELLS, 4)).astype(np.float32)
    counts[:, 0] += 1
    obs = {
        "tissue": ["head", "body"] * (N_CELLS // 2),
        "sex": pd.Categorical(["female", "female", "mix"] * (N_CELLS // 3)),
        "age": pd.Categorical(["5", "30", "50", "70"] * (N_CELLS // 4)),
        "afca_annotation": pd.Categorical(["hemocyte", "unannotated", "muscle cell"] * (N_CELLS // 3)),
        "afca_annotation_broad": "broad",
        "dataset": ["FCA", "AFCA", "AFCA", "AFCA"] * (N_CELLS // 4),
        "total_counts": counts.sum(1),
    } | changes
    names = [f"cell{number}" for number in range(N_CELLS)]
    frame = pd.DataFrame({name: values for name, values in obs.items() if values is not None}, index=names)
    values = np.log1p(counts * 1e4 / counts.sum(1, keepdims=True))
    return ad.AnnData(
        sparse.csr_matrix(values), obs=frame, var=pd.DataFrame(index=["Drak", "fz2", "mt:CoI", "asRNA:unheard"])
    )


@pytest.fixture
def read(tmp_path):
    """Write an object and read the file as the atlas."""

    def call(adata: ad.AnnData, **asked) -> ad.AnnData:
        adata.write_h5ad(tmp_path / "atlas.h5ad")
        return sf.datasets.afca(tmp_path / "atlas.h5ad", **asked)

    return call


@pytest.mark.parametrize("backed", [None, "r"])
def test_columns_are_completed_and_none_is_lost(read, tmp_path, backed):
    before = atlas()
    found = read(before.copy(), backed=backed)
    assert found.isbacked == (backed == "r")
    assert found.obs["cell_type"].tolist() == before.obs["afca_annotation"].tolist()
    assert found.obs["age"].dtype == np.float64 and found.obs["age"].tolist() == [5, 30, 50, 70] * 30
    assert found.obs["age_in_file"].astype(str).tolist() == before.obs["age"].astype(str).tolist()
    for name in set(before.obs) - {"age"}:
        assert found.obs[name].astype(str).tolist() == before.obs[name].astype(str).tolist()
    assert (abs(found.X[:] - before.X) > 0).nnz == 0
    known = dict(zip(found.var_names, found.var["FBgn"], strict=True))
    assert known["Drak"] == "FBgn0052666" and known["asRNA:unheard"] == "asRNA:unheard"
    assert found.uns["source"]["columns"]["cell_type"] == "afca_annotation"
    out = tmp_path / "out.h5ad"
    (found.to_memory() if backed else found).write_h5ad(out)
    again = sf.datasets.afca(out)
    assert set(again.obs) == set(found.obs), "reading what was written adds nothing"


@pytest.fixture
def warned(monkeypatch):
    """What is logged as a warning."""
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    return said


def test_without_libraries_the_condition_stands_for_them(read, warned):
    found = read(atlas())
    assert found.obs["batch"].iloc[0] == "FCA_head_female_5" and found.obs["batch"].nunique() == 8
    assert found.uns["source"]["columns"]["batch"] == "dataset × tissue × sex × age"
    assert len(warned) == 1 and "does not name the library" in warned[0] and "batch_key=" in warned[0]


@pytest.mark.parametrize(
    ("changes", "batch_key", "expected"),
    [
        ({"sample": ["a", "b"] * (N_CELLS // 2)}, None, ["a", "b"]),
        ({"run": [1.0, 2.0] * (N_CELLS // 2)}, "run", ["1", "2"]),
        ({"batch": [7, 8] * (N_CELLS // 2)}, None, ["7", "8"]),
        ({"batch": [7, None] * (N_CELLS // 2), "sample": ["a", "b"] * (N_CELLS // 2)}, None, ["a", "b"]),
    ],
)
def test_libraries_by_a_column(read, warned, changes, batch_key, expected):
    found = read(atlas(**changes), batch_key=batch_key)
    assert found.obs["batch"].astype(str).tolist() == expected * (N_CELLS // 2)
    assert not warned
    assert ("batch_in_file" in found.obs) == (changes.get("batch", [0, 0])[1] is None)


def test_libraries_by_the_names_of_cells(read):
    adata = atlas()
    random = np.random.default_rng(1)
    barcodes = ["".join(random.choice(list("ACGT"), 16)) for _ in range(N_CELLS)]
    adata.obs_names = [f"{code}-d55c64e6__FCA{number % 3}_Head" for number, code in enumerate(barcodes)]
    assert read(adata).obs["batch"].tolist() == [f"FCA{number % 3}_Head" for number in range(N_CELLS)]
    adata.obs_names = [f"{code}-1" for code in barcodes]
    assert read(adata).obs["batch"].nunique() == 8, "one end for all tells nothing"


def test_ids_of_the_file_and_of_a_table_come_first(read, tmp_path):
    adata = atlas()
    adata.var["gene_ids"] = ["FBgn0000001", "FBgn0000002", "FBgn0000003", ""]
    assert read(adata).var["FBgn"].tolist() == ["FBgn0000001", "FBgn0000002", "FBgn0000003", "asRNA:unheard"]
    table = tmp_path / "names.tsv"
    table.write_text("asRNA:unheard\tFBgn0000009\nDrak\tFBgn0000008\n")
    with sf.settings.override(synonyms=table):
        found = read(atlas()).var["FBgn"]
    assert found.tolist()[0] == "FBgn0000008" and found.tolist()[3] == "FBgn0000009"


def test_no_model_and_no_table(read, monkeypatch):
    """Names stay names, and nothing is fetched."""
    monkeypatch.setattr("scflyformer.models._load.at_hand", lambda name: False)
    found = read(atlas())
    assert found.var["FBgn"].tolist() == found.var_names.tolist()


def test_without_a_file_the_error_says_where_it_is():
    with pytest.raises(ValueError, match=r"adata_headBody_S_v1\.0\.h5ad.*https://hongjielilab.*sf\.datasets\.afca\("):
        sf.datasets.afca()
    with pytest.raises(FileNotFoundError, match=r"no file gone\.h5ad\. Fetch adata_headBody"):
        sf.datasets.afca("gone.h5ad")


def test_other_files_are_refused(read, tmp_path):
    with pytest.raises(ValueError, match=r"cell_type \(as afca_annotation\); age \(as age or dev.*It has: tissue, sex"):
        read(atlas(afca_annotation=None, age=None))
    with pytest.raises(KeyError, match="batch_key: no 'lane'"):
        read(atlas(), batch_key="lane")
    with pytest.raises(ValueError, match="missing for 60 cells"):
        read(atlas(lane=["a", None] * (N_CELLS // 2)), batch_key="lane")
    with pytest.raises(ValueError, match="backed='r\\+' is unknown"):
        read(atlas(), backed="r+")
    broken = tmp_path / "broken.h5ad"
    broken.write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="not a readable h5ad file"):
        sf.datasets.afca(broken)
    packed = tmp_path / "atlas.h5ad.gz"
    packed.write_bytes(b"")
    with pytest.raises(ValueError, match="gunzip"):
        sf.datasets.afca(packed)
