"""`pp.tokenize` writes what it documents, the same for every object, and nothing where it fails."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from mudata_updates import no_pull

import scflyformer as sf
from scflyformer.data._reading import Reading
from scflyformer.genes._vocabulary import N_SPECIAL


def oracle(adata, vocabulary, max_len):
    """Padded tokens by a plain loop, for names that are symbols."""
    gene = {symbol: number for number, symbol in enumerate(vocabulary.symbols)}
    known = [name in gene for name in adata.var_names]
    index = np.array([gene[name] for name in adata.var_names[known]])
    out = np.zeros((adata.n_obs, max_len), np.int32)
    for row, counts in enumerate(adata.X.toarray()[:, known]):
        expressed = np.flatnonzero(counts)
        ratio = counts[expressed] / vocabulary.medians[index[expressed]]
        order = np.lexsort([index[expressed], -ratio])[:max_len]
        out[row, : len(order)] = index[expressed][order] + N_SPECIAL
    return out


@pytest.fixture
def tokenized(cells, tiny_model):
    sf.pp.tokenize(cells, model=tiny_model)
    return cells


def test_keys(tokenized, tiny_vocabulary, tiny_model):
    tokens = tokenized.obsm["tokens"]
    assert isinstance(tokens, sp.csr_matrix)
    assert tokens.dtype == np.int32
    max_len = sf.models.load(tiny_model).max_len
    np.testing.assert_array_equal(tokens.toarray(), oracle(tokenized, tiny_vocabulary, max_len))
    assert tokens.has_canonical_format
    assert (tokens.data >= N_SPECIAL).all()
    assert tokenized.obs["n_tokens"].dtype == np.int32
    np.testing.assert_array_equal(tokenized.obs["n_tokens"], tokens.getnnz(axis=1))
    assert set(tokenized.uns["tokens"]) == {"coverage", "params"}
    params = tokenized.uns["tokens"]["params"]
    assert params["model"] == tiny_model.name
    assert params["model_sha256"] == sf.models.load(tiny_model).sha256
    assert params["layer"] == "none"
    assert params["max_len"] == max_len
    assert tokenized.uns["tokens"]["coverage"]["n_vocabulary_mapped"] == 60


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_round_trip(tokenized, tmp_path, kind):
    getattr(tokenized, f"write_{kind}")(tmp_path / f"a.{kind}")
    back = getattr(ad, f"read_{kind}")(tmp_path / f"a.{kind}")
    np.testing.assert_array_equal(back.obsm["tokens"].toarray(), tokenized.obsm["tokens"].toarray())
    np.testing.assert_array_equal(back.obs["n_tokens"], tokenized.obs["n_tokens"])
    assert back.uns["tokens"]["params"]["model_sha256"] == tokenized.uns["tokens"]["params"]["model_sha256"]
    assert back.uns["tokens"]["coverage"]["share_counts"] == tokenized.uns["tokens"]["coverage"]["share_counts"]


def test_key_added_and_max_len(cells, tiny_model, tiny_vocabulary):
    sf.pp.tokenize(cells, model=tiny_model, key_added="short", max_len=7)
    np.testing.assert_array_equal(cells.obsm["short"].toarray(), oracle(cells, tiny_vocabulary, 7))
    assert cells.obs["n_short"].max() <= 7
    assert set(cells.uns) == {"short"}
    assert "tokens" not in cells.obsm


def test_the_data_stay_as_they_are(cells, tiny_model):
    before = cells.copy()
    assert sf.pp.tokenize(cells, model=tiny_model) is None
    np.testing.assert_array_equal(cells.X.toarray(), before.X.toarray())
    pd.testing.assert_frame_equal(cells.var, before.var)
    pd.testing.assert_frame_equal(cells.obs.drop(columns="n_tokens"), before.obs)


def test_copy(cells, tiny_model):
    out = sf.pp.tokenize(cells, model=tiny_model, copy=True)
    assert "tokens" in out.obsm
    assert "tokens" not in cells.obsm
    assert not cells.uns


def test_view(cells, tiny_model):
    view = cells[5:20]
    sf.pp.tokenize(view, model=tiny_model)
    sf.pp.tokenize(cells, model=tiny_model)
    np.testing.assert_array_equal(view.obsm["tokens"].toarray(), cells.obsm["tokens"][5:20].toarray())


@pytest.mark.parametrize("copy", [False, True])
def test_backed(cells, tiny_model, tmp_path, copy):
    cells.write_h5ad(tmp_path / "a.h5ad")
    sf.pp.tokenize(cells, model=tiny_model)
    backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    try:
        out = sf.pp.tokenize(backed, model=tiny_model, copy=copy)
        out = out if copy else backed
        assert out.isbacked != copy
        np.testing.assert_array_equal(out.obsm["tokens"].toarray(), cells.obsm["tokens"].toarray())
        assert ("tokens" in backed.obsm) != copy
    finally:
        backed.file.close()


@pytest.mark.parametrize("copy", [False, True])
def test_mudata(cells, tiny_model, tmp_path, copy):
    import mudata

    other = ad.AnnData(np.ones((60, 2), np.float32), obs=cells.obs[[]])
    with no_pull():
        data = mudata.MuData({"rna": cells.copy(), "other": other})
        sf.pp.tokenize(cells, model=tiny_model)
        out = sf.pp.tokenize(data, model=tiny_model, mod="rna", copy=copy)
        out = out if copy else data
        np.testing.assert_array_equal(out["rna"].obsm["tokens"].toarray(), cells.obsm["tokens"].toarray())
        assert ("tokens" in data["rna"].obsm) != copy
        out.write_h5mu(tmp_path / "a.h5mu")
        back = mudata.read_h5mu(tmp_path / "a.h5mu")
    np.testing.assert_array_equal(back["rna"].obsm["tokens"].toarray(), cells.obsm["tokens"].toarray())


def test_log_values_give_the_same(cells, tiny_model):
    import scanpy as sc

    sf.pp.tokenize(cells, model=tiny_model)
    cells.layers["log"] = cells.X.copy()
    sc.pp.normalize_total(cells, target_sum=1e4, layer="log")
    sc.pp.log1p(cells, layer="log")
    sf.pp.tokenize(cells, model=tiny_model, layer="log", key_added="log")
    np.testing.assert_array_equal(cells.obsm["log"].toarray(), cells.obsm["tokens"].toarray())
    assert cells.uns["log"]["coverage"]["scale"] == "log1p"
    assert cells.uns["log"]["params"]["layer"] == "log"


def test_cell_without_counts(cells, tiny_model):
    matrix = cells.X.toarray()
    matrix[4] = 0
    cells.X = sp.csr_matrix(matrix)
    sf.pp.tokenize(cells, model=tiny_model)
    assert cells.obs["n_tokens"].iloc[4] == 0
    assert cells.obsm["tokens"][[4]].nnz == 0


def spoil(cells, how):
    matrix = cells.X.toarray()
    if how == "negative":
        matrix[0, 0] = -1
    elif how == "nan":
        matrix[0, 0] = np.nan
    elif how == "human":
        cells.var_names = [f"ENSG{n:011d}" for n in range(cells.n_vars)]
        cells.var = cells.var[[]]
    elif how == "empty":
        return cells[:0].copy()
    cells.X = sp.csr_matrix(matrix)
    return cells


@pytest.mark.parametrize(
    ("how", "options", "error", "message"),
    [
        ("negative", {}, ValueError, "looks scaled or z-scored"),
        ("nan", {}, ValueError, r"missing values \(NaN\)"),
        ("human", {}, ValueError, "0 of 65 names in var_names were recognised.*These ids are human"),
        ("empty", {}, ValueError, "The object is empty: 0 cells"),
        ("", {"layer": "counts"}, KeyError, "layer: no 'counts' in adata.layers; there are none"),
        ("", {"gene_key": "fbgn"}, KeyError, r"did you mean 'FBgn'\?"),
        ("", {"max_len": 0}, ValueError, "max_len is 0; expected 1 to"),
        ("", {"mod": "rna"}, ValueError, "leave mod out"),
        ("", {"key_added": "a/b"}, ValueError, "holds '/'"),
        ("", {"model": "no-such-model"}, ValueError, "no-such-model"),
    ],
)
def test_bad_input_leaves_the_object_alone(cells, tiny_model, how, options, error, message):
    cells = spoil(cells, how)
    with pytest.raises(error, match=message):
        sf.pp.tokenize(cells, **{"model": tiny_model} | options)
    assert list(cells.obs) == ["cell_type", "batch", "age"]
    assert not len(cells.obsm)
    assert not cells.uns


def test_not_an_anndata(tiny_model):
    with pytest.raises(TypeError, match=r"Expected an AnnData or a MuData, got a numpy\.ndarray"):
        sf.pp.tokenize(np.ones((3, 3)), model=tiny_model)


def test_real_cells(data_dir):
    """A real set, by symbol and by FBgn, as counts and as log1p(CP10k), gives the oracle's tokens each time."""
    import scanpy as sc

    from scflyformer.data import _adata
    from scflyformer.genes._vocabulary import Vocabulary

    adata = ad.read_h5ad(data_dir / "fly" / "fca_head.h5ad")[::100].copy()
    genes = adata.var["FBgn"].to_numpy(dtype=str)
    vocabulary = Vocabulary(
        gene_ids=genes,
        symbols=adata.var_names.to_numpy(dtype=str),
        medians=np.random.default_rng(0).uniform(1, 9, len(genes)).astype(np.float32),
        n_cells=np.ones(len(genes), np.int64),
        synonyms=np.full(len(genes), ""),
    )

    class Model:
        name, path, sha256, max_len = "head", "head", "0", 512

    Model.vocabulary = vocabulary
    wanted = oracle(adata, vocabulary, 512)
    rows, _ = _adata.token_rows(adata, Model, progress=False)
    np.testing.assert_array_equal(rows.to_csr(512).toarray(), wanted)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    rows, coverage = _adata.token_rows(adata, Model, Reading(gene_key="FBgn"), progress=False)
    np.testing.assert_array_equal(rows.to_csr(512).toarray(), wanted)
    assert coverage["share_cells_whole_counts"] == 1.0
