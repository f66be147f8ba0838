"""Passing proves: a cell's embedding is the same however the data are arranged, stored or named, and a call that fails
changes nothing."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from mudata_updates import no_pull

import scflyformer as sf
from scflyformer.data import _adata

from ..conftest import make_cells

KEY = "X_scflyformer"
CLOSE = {"atol": 1e-5, "rtol": 0}


def embed(data: Any, model: Any, **asked: Any) -> np.ndarray:
    """Embed a copy and return the vectors."""
    copied = sf.tl.embed(data, model=model, copy=True, **asked)
    return (copied["rna"] if "mod" in asked else copied).obsm[KEY]


@pytest.fixture(scope="module")
def base(tiny_model) -> tuple[ad.AnnData, np.ndarray]:
    """Cells, two of them empty, and their vectors; the tests take copies."""
    from anndata import AnnData

    random = np.random.default_rng(0)
    counts = random.poisson(random.gamma(0.6, 3, 65), (24, 65)).astype(np.float32)
    counts[[5, 23]] = 0
    var = pd.DataFrame(
        {"FBgn": [f"FBgn99{n:05d}" for n in range(1, 61)] + [f"NOTFLY{n}" for n in range(5)]},
        index=[f"tiny{n}" for n in range(1, 61)] + [f"stranger{n}" for n in range(5)],
    )
    cells = AnnData(sp.csr_matrix(counts), obs=pd.DataFrame(index=[f"cell{n}" for n in range(24)]), var=var)
    return cells, embed(cells, tiny_model)


def test_what_is_written(base, tiny_model):
    cells, expected = base[0].copy(), base[1]
    assert sf.tl.embed(cells, model=tiny_model) is None
    vectors = cells.obsm[KEY]
    assert isinstance(vectors, np.ndarray)
    assert (vectors.dtype, vectors.shape) == (np.float32, (24, 32))
    np.testing.assert_allclose(vectors, expected, **CLOSE)
    assert set(cells.uns[KEY]) == {"coverage", "params", "checksum", "parts"}
    assert cells.uns[KEY]["coverage"]["n_cells_empty"] == 2
    assert cells.uns[KEY]["coverage"]["n_cells_at_full_length"] == int(((base[0].X[:, :60] > 0).sum(1) >= 48).sum())
    assert np.unique(vectors, axis=0).shape[0] == 23  # the two empty cells share one


def test_cells_without_counts_get_zeros(base):
    assert not base[1][[5, 23]].any()
    assert np.abs(np.delete(base[1], [5, 23], axis=0)).max(1).min() > 0


@given(st.randoms(use_true_random=False), st.integers(1, 300), st.integers(1, 24))
def test_cell_order_other_cells_and_batches_have_no_say(base, tiny_model, random, batch_tokens, n_cells):
    cells, expected = base
    order = random.sample(range(24), n_cells)
    if not set(order) - {5, 23}:
        return
    with sf.settings.override(batch_tokens=batch_tokens):
        np.testing.assert_allclose(embed(cells[order], tiny_model), expected[order], **CLOSE)


KINDS = ("counts", "soup", "em", "linear", "log1p", "log2", "log10", "soup log1p", "em log1p")


@st.composite
def values_of_all_kinds(draw):
    """Give each of 24 cells a scale of its own: counts, decimal counts, normalised values, with and without logs."""
    dense = base_counts()
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    for row in dense:
        kind = draw(st.sampled_from(KINDS))
        if kind.startswith("soup"):
            row *= 1 - rng.uniform(0, 0.2, len(row))
        elif kind.startswith("em"):
            row += np.where((row > 0) & (rng.random(len(row)) < 0.2), rng.choice([0.5, 1 / 3], len(row)), 0)
        if kind not in ("counts", "soup", "em") and row.any():
            row *= draw(st.sampled_from([1.0, 500.0, 1e4, 1e6])) / row.sum()
        if (log := {"log1p": 1, "log2": np.log(2), "log10": np.log(10)}.get(kind.split()[-1])) is not None:
            row[:] = np.log1p(row) / log
    return dense.astype(np.float32)


def base_counts() -> np.ndarray:
    return make_cells(24, seed=5).X.toarray().astype(np.float64)


@given(values_of_all_kinds(), st.randoms(use_true_random=False), st.integers(1, 24))
def test_a_cells_tokens_do_not_depend_on_its_company(tiny_model, values, random, n_cells):
    """Any subset of cells, on whatever scales, gives the same tokens and vectors."""
    cells = make_cells(24, seed=5)
    cells.X = sp.csr_matrix(values)
    some = random.sample(range(24), n_cells)
    model = sf.models.load(tiny_model)
    options = {"progress": False, "log_prefix": None}
    whole, part = (_adata.token_rows(one, model, **options)[0] for one in (cells, cells[some].copy()))
    wanted = whole.take(np.array(some))
    np.testing.assert_array_equal(part.tokens, wanted.tokens)
    np.testing.assert_array_equal(part.values, wanted.values)
    np.testing.assert_allclose(embed(cells[some], tiny_model), embed(cells, tiny_model)[some], **CLOSE)


def test_blocks_have_no_say(base, tiny_model, monkeypatch):
    """Chunks of a cell or two, tokens of five cells at a time."""
    monkeypatch.setattr("scflyformer.data._matrix.CHUNK_VALUES", 60)
    monkeypatch.setattr("scflyformer.data._chunks.BLOCK_CELLS", 5)
    cells = base[0].copy()
    sf.tl.embed(cells, model=tiny_model)
    np.testing.assert_allclose(cells.obsm[KEY], base[1], **CLOSE)
    monkeypatch.undo()
    assert cells.uns[KEY]["coverage"] == sf.tl.embed(base[0], model=tiny_model, copy=True).uns[KEY]["coverage"]


def test_a_view_is_not_taken_out_whole(base, tiny_model, monkeypatch):
    """Only the rows that are read at a time."""
    from scflyformer.data import _matrix

    sizes, matrix_of = [], _matrix.matrix_of
    monkeypatch.setattr(_matrix, "DISK_VALUES", 4 * base[0].n_vars)
    monkeypatch.setattr(_matrix, "matrix_of", lambda adata, layer: sizes.append(adata.n_obs) or matrix_of(adata, layer))
    list(_matrix.raw_chunks(base[0][3:], None))
    assert max(sizes) == 4


@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_gene_order_and_unknown_genes_have_no_say(base, tiny_model, random, n_unknown):
    cells, expected = base
    more = ad.AnnData(
        sp.csr_matrix(np.random.default_rng(n_unknown).poisson(2, (24, n_unknown)).astype(np.float32)),
        obs=cells.obs,
        var=pd.DataFrame(index=[f"unknown{n}" for n in range(n_unknown)]),
    )
    wide = ad.concat([cells, more], axis=1)
    order = random.sample(range(wide.n_vars), wide.n_vars)
    np.testing.assert_allclose(embed(wide[:, order], tiny_model), expected, **CLOSE)


@given(
    st.sampled_from(["csr", "csc", "dense", "csr_array", "csc_array"]),
    st.sampled_from([np.float32, np.float64, np.int32, np.uint8]),
    st.sampled_from(["X", "layer"]),
    st.booleans(),
)
def test_sparse_format_number_type_layer_and_view_have_no_say(base, tiny_model, form, kind, place, view):
    cells, expected = base
    matrix = cells.X.astype(kind)
    matrix = matrix.toarray() if form == "dense" else getattr(sp, form if "_" in form else f"{form}_matrix")(matrix)
    data = ad.AnnData(matrix, obs=cells.obs, var=cells.var)
    asked = {}
    if place == "layer":
        data.layers["counts"], data.X = data.X, np.full(data.shape, np.nan, np.float32)
        asked = {"layer": "counts"}
    rows = slice(3, 20) if view else slice(None)
    data = data[rows] if view else data
    assert data.is_view == view
    np.testing.assert_allclose(embed(data, tiny_model, **asked), expected[rows], **CLOSE)


@given(st.floats(0.5, 1e5), st.sampled_from(["linear", "log1p"]))
def test_the_scale_of_the_values_has_no_say(base, tiny_model, total, scale):
    cells, expected = base
    counts = cells.X.toarray().astype(np.float64)
    values = counts / counts.sum(1, keepdims=True).clip(1) * total
    data = cells.copy()
    data.X = sp.csr_matrix((np.log1p(values) if scale == "log1p" else values).astype(np.float32))
    if scale == "linear" and data.X.max() <= 20:  # as small as logarithms are: nothing tells them apart but counts
        return
    np.testing.assert_allclose(embed(data, tiny_model), expected, **CLOSE)


def test_scanpys_normalisation_has_no_say(base, tiny_model):
    import scanpy as sc

    data = base[0].copy()
    data = data[data.X.sum(1).A1 > 0].copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    np.testing.assert_allclose(embed(data, tiny_model), np.delete(base[1], [5, 23], axis=0), **CLOSE)


@pytest.mark.parametrize("names", ["FBgn", "symbol", "CG", "mixed"])
def test_the_kind_of_gene_name_has_no_say(base, tiny_model, names):
    cells, expected = base[0].copy(), base[1]
    if names == "FBgn":
        np.testing.assert_allclose(embed(cells, tiny_model, gene_key="FBgn"), expected, **CLOSE)
        cells.var_names = cells.var["FBgn"].to_numpy()
    elif names != "symbol":
        known = [f"CG{n}" if names == "CG" or n % 3 else f"FBgn99{n:05d}" for n in range(1, 61)]
        cells.var_names = [*known, *cells.var_names[60:]]
    np.testing.assert_allclose(embed(cells, tiny_model), expected, **CLOSE)


def test_a_gene_in_two_columns_is_their_sum(base, tiny_model):
    cells, expected = base
    halves = ad.AnnData(
        sp.csr_matrix(np.hstack([cells.X.toarray() // 2, cells.X.toarray() - cells.X.toarray() // 2])),
        obs=cells.obs,
        var=pd.DataFrame({"id": [*cells.var_names, *cells.var_names]}, index=[f"column{n}" for n in range(130)]),
    )
    np.testing.assert_allclose(embed(halves, tiny_model, gene_key="id"), expected, **CLOSE)


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_backed_or_in_memory_is_the_same(base, tiny_model, tmp_path, form, view):
    cells, expected = base[0].copy(), base[1]
    cells.X = {"csr": cells.X, "csc": sp.csc_matrix(cells.X), "dense": cells.X.toarray()}[form]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    try:
        if view:
            with pytest.raises(ValueError, match="is a view of a file on disk"):
                sf.tl.embed(backed[2:9], model=tiny_model)
            np.testing.assert_allclose(embed(backed[2:9], tiny_model), expected[2:9], **CLOSE)
        else:
            sf.tl.embed(backed, model=tiny_model)
            assert backed.isbacked
            np.testing.assert_allclose(backed.obsm[KEY], expected, **CLOSE)
    finally:
        backed.file.close()


def test_mudata(base, tiny_model):
    import mudata

    cells, expected = base[0].copy(), base[1]
    protein = ad.AnnData(np.ones((24, 2), np.float32), obs=cells.obs.copy(), var=pd.DataFrame(index=["a", "b"]))
    with no_pull():
        data = mudata.MuData({"rna": cells, "protein": protein})
    copied = sf.tl.embed(data, model=tiny_model, mod="rna", copy=True)
    assert KEY not in data["rna"].obsm
    assert type(copied) is mudata.MuData
    sf.tl.embed(data, model=tiny_model, mod="rna")
    for found in (data, copied):
        np.testing.assert_allclose(found["rna"].obsm[KEY], expected, **CLOSE)
        assert KEY not in found["protein"].obsm
    with pytest.raises(ValueError, match=r"name the modality with counts by mod=, one of \['rna', 'protein'\]"):
        sf.tl.embed(data, model=tiny_model)
    with pytest.raises(KeyError, match=r"mod: no 'rnaa' in adata\.mod; did you mean 'rna'"):
        sf.tl.embed(data, model=tiny_model, mod="rnaa")


@pytest.mark.parametrize("layer", [None, "here"])
def test_a_view_of_some_cells_and_genes(base, tiny_model, layer):
    cells = base[0].copy()
    cells.layers["here"] = cells.X.copy()
    view = cells[::3, ::2]
    expected = view.copy()
    for one in (view, expected):
        sf.tl.embed(one, model=tiny_model, layer=layer)
    np.testing.assert_allclose(view.obsm[KEY], expected.obsm[KEY], **CLOSE)


def test_copy_leaves_the_original_alone(base, tiny_model):
    cells = base[0].copy()
    copied = sf.tl.embed(cells, model=tiny_model, copy=True, key_added="mine")
    assert not list(cells.obsm)
    assert not cells.uns
    assert list(copied.obsm) == list(copied.uns) == ["mine"]
    copied.X[0, 0] += 1
    assert (cells.X != base[0].X).nnz == 0


def test_a_view_becomes_an_object_of_its_own(base, tiny_model):
    """Without a warning, and the parent stays as it was."""
    parent = base[0].copy()
    view = parent[4:9]
    sf.tl.embed(view, model=tiny_model)
    assert not view.is_view
    assert not list(parent.obsm)
    assert not parent.uns
    np.testing.assert_allclose(view.obsm[KEY], base[1][4:9], **CLOSE)


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_survives_the_disk(base, tiny_model, tmp_path, store):
    cells = base[0].copy()
    sf.tl.embed(cells, model=tiny_model)
    path = tmp_path / f"cells.{store}"
    getattr(cells, f"write_{store}")(path)
    back = getattr(ad, f"read_{store}")(path)
    np.testing.assert_array_equal(back.obsm[KEY], cells.obsm[KEY])
    for part in ("params", "coverage"):
        assert set(back.uns[KEY][part]) == set(cells.uns[KEY][part])
        for name, value in cells.uns[KEY][part].items():
            np.testing.assert_array_equal(np.asarray(back.uns[KEY][part][name]), np.asarray(value))


def test_params_say_what_ran(base, tiny_model):
    cells = base[0].copy()
    sf.tl.embed(cells, model=tiny_model, gene_key="FBgn", pooling="mean")
    model = sf.models.load(tiny_model)
    expected = {
        "model": "tiny",
        "model_folder": str(tiny_model),
        "model_sha256": model.sha256,
        "scflyformer_version": sf.__version__,
        "layer": "none",
        "gene_key": "FBgn",
        "pooling": "mean",
        "synonyms": "none",
        "device": "cpu",
        "dtype": "float32",
    }
    assert cells.uns[KEY]["params"] == expected
    with sf.settings.override(device="cpu", dtype="bfloat16"):
        sf.tl.embed(cells, model=tiny_model)
    assert cells.uns[KEY]["params"] | {} == expected | {"dtype": "bfloat16", "pooling": "cell", "gene_key": "none"}


def test_pooling(base, tiny_model):
    cells, expected = base
    np.testing.assert_allclose(embed(cells, tiny_model, pooling="cell"), expected, **CLOSE)
    mean = embed(cells, tiny_model, pooling="mean")
    assert mean.shape == expected.shape
    assert not np.allclose(mean, expected)
    assert not mean[[5, 23]].any()


@pytest.mark.parametrize("n_cells", [1, 2])
def test_one_cell(base, tiny_model, n_cells):
    np.testing.assert_allclose(embed(base[0][:n_cells], tiny_model), base[1][:n_cells], **CLOSE)


def test_the_shipped_or_named_model(base, tiny_model, monkeypatch):
    monkeypatch.setenv("SCFLYFORMER_MODELS", str(tiny_model.parent))
    np.testing.assert_allclose(embed(base[0], "tiny"), base[1], **CLOSE)
    np.testing.assert_allclose(embed(base[0], str(tiny_model)), base[1], **CLOSE)


def human(cells: ad.AnnData) -> ad.AnnData:
    cells.var_names = [f"ENSG{n:011d}" for n in range(65)]
    return cells


def few_known(cells: ad.AnnData) -> ad.AnnData:
    cells = cells[:, 59:].copy()
    cells.X[:, 1:] *= 100
    return cells


def with_values(value: float):
    def change(cells: ad.AnnData) -> ad.AnnData:
        cells.X = cells.X.copy()
        cells.X.data[7] = value
        return cells

    return change


def scaled(cells: ad.AnnData) -> ad.AnnData:
    dense = cells.X.toarray()
    cells.X = (dense - dense.mean(0)) / dense.std(0).clip(1e-3)
    return cells


def without_x(cells: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(obs=cells.obs, var=cells.var, layers={"counts": cells.X})


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no cells": (lambda cells: cells[:0].copy(), {}, ValueError, "The object is empty: 0 cells"),
    "no genes": (lambda cells: cells[:, :0].copy(), {}, ValueError, "The object is empty: 24 cells × 0 genes"),
    "human genes": (human, {}, ValueError, "ENSG0"),
    "too few genes": (few_known, {}, ValueError, "at least 10% of either is needed"),
    "negative": (with_values(-2), {}, ValueError, r"X holds negative values \(down to -2\)"),
    "missing": (with_values(np.nan), {}, ValueError, r"X holds missing values \(NaN\)"),
    "infinite": (with_values(np.inf), {}, ValueError, "X holds infinite values"),
    "scaled": (scaled, {}, ValueError, "X holds negative values.*it looks scaled"),
    "no X": (without_x, {}, ValueError, "The object has no X; pass layer= with counts. Its layers: 'counts'"),
    "layer": (None, {"layer": "countz"}, KeyError, r"layer: no 'countz' in adata\.layers; did you mean 'counts'"),
    "gene_key": (None, {"gene_key": "fbgn_id"}, KeyError, r"gene_key: no 'fbgn_id' in adata\.var; did you mean 'FBgn'"),
    "mod": (None, {"mod": "rna"}, ValueError, "leave mod out"),
    "no adata": (lambda cells: cells.X, {}, TypeError, "Expected an AnnData or a MuData"),
    "pooling": (None, {"pooling": "max"}, ValueError, "pooling='max' is unknown"),
    "key": (None, {"key_added": "a/b"}, ValueError, "'a/b' holds '/'"),
    "model": (None, {"model": "no-such-model"}, Exception, "no-such-model"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_changes_nothing(name, base, tiny_model):
    change, asked, error, match = BAD[name]
    cells = base[0].copy()
    cells.layers["counts"] = cells.X.copy()
    cells = cells if change is None else change(cells)
    before = cells.copy()
    with pytest.raises(error, match=match):
        sf.tl.embed(cells, **({"model": tiny_model} | asked))
    if isinstance(cells, ad.AnnData):
        assert not list(cells.obsm)
        assert not cells.uns
        assert list(cells.obs) == list(before.obs)
        assert cells.var.equals(before.var)
        if cells.X is not None:
            one, other = (x.toarray() if sp.issparse(x) else x for x in (cells.X, before.X))
            np.testing.assert_array_equal(one, other)


def test_gene_names_twice_are_added_up(base, tiny_model):
    """A documented result: columns of one gene are one gene."""
    import warnings

    cells = base[0].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own word on names that are not unique
        cells.var_names = ["tiny1", "tiny1", *cells.var_names[2:]]
        found = embed(cells, tiny_model)
    merged = base[0].copy()
    dense = merged.X.toarray()
    dense[:, 0] += dense[:, 1]
    dense[:, 1] = 0
    merged.X = sp.csr_matrix(dense)
    np.testing.assert_allclose(found, embed(merged, tiny_model), **CLOSE)


def test_the_bar_opens_when_cells_are_at_work(base, tiny_model, monkeypatch):
    """Not while names are looked up or the model loads: it would stand at 0, or flash before an error."""
    from scflyformer import _log
    from scflyformer.data import _gene_names
    from scflyformer.models._model import Model

    order = []

    def noting(name, original):
        def call(*args, **kwargs):
            order.append(name)
            return original(*args, **kwargs)

        return call

    monkeypatch.setattr(_log, "progress", noting("bar", _log.progress))
    monkeypatch.setattr(_gene_names, "resolve_genes", noting("genes", _gene_names.resolve_genes))
    monkeypatch.setattr(Model, "network", noting("model", Model.network))
    cells = base[0].copy()
    sf.tl.embed(cells, model=tiny_model)
    assert order.count("bar") == 1 and {"genes", "model"} == set(order[: order.index("bar")])
    order.clear()
    cells.var_names = [f"HUMAN{n}" for n in range(cells.n_vars)]
    with pytest.raises(ValueError, match="names in var_names were recognised"):
        sf.tl.embed(cells, model=tiny_model)
    assert "bar" not in order


def test_all_cells_empty(base, tiny_model):
    """A documented result, not an error: no counts, no tokens, zeros."""
    cells = base[0].copy()
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    sf.tl.embed(cells, model=tiny_model)
    assert not cells.obsm[KEY].any()
    assert cells.uns[KEY]["coverage"]["n_cells_empty"] == 24


def test_an_earlier_embedding_is_replaced(base, tiny_model):
    cells = base[0].copy()
    cells.obsm[KEY] = np.ones((24, 3))
    cells.uns[KEY] = {"params": {}, "stale": 1}
    sf.tl.embed(cells, model=tiny_model)
    np.testing.assert_allclose(cells.obsm[KEY], base[1], **CLOSE)
    assert set(cells.uns[KEY]) == {"coverage", "params", "checksum", "parts"}
