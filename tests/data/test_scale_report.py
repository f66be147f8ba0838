"""Values that are no counts, and cells that disagree, are warned of by what they are, with a remedy."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
import scipy.sparse as sp
from flat_options import pretrain

import scflyformer as sf
from scflyformer import _log

KEY = "X_scflyformer"


@pytest.fixture
def flies() -> ad.AnnData:
    return sf.datasets.fly_brain_simulated(84)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(_log, "warning", heard.append)
    return heard


def normalised(adata: ad.AnnData, *, log: bool = True, target: float = 1e4) -> ad.AnnData:
    out = adata.copy()
    sc.pp.normalize_total(out, target_sum=target)
    if log:
        sc.pp.log1p(out)
    return out


def with_x(adata: ad.AnnData, matrix) -> ad.AnnData:
    return ad.AnnData(sp.csr_matrix(matrix).astype(np.float32), adata.obs, adata.var)


def twice(adata: ad.AnnData) -> ad.AnnData:
    return with_x(adata, normalised(adata).X.log1p())


def square_roots(adata: ad.AnnData) -> ad.AnnData:
    return with_x(adata, normalised(adata, log=False).X.sqrt())


def scaled(adata: ad.AnnData) -> ad.AnnData:
    out = normalised(adata)
    sc.pp.scale(out, zero_center=False, max_value=10)
    return out


def tpm(adata: ad.AnnData) -> ad.AnnData:
    lengths = np.random.default_rng(0).uniform(0.5, 5, adata.n_vars)
    rates = adata.X.toarray() / lengths
    return with_x(adata, rates / rates.sum(1, keepdims=True) * 1e6)


def log2_tpm(adata: ad.AnnData) -> ad.AnnData:
    return with_x(adata, np.log2(tpm(adata).X.toarray() + 1))


def soup(adata: ad.AnnData) -> ad.AnnData:
    share = np.random.default_rng(0).uniform(0, 0.15, adata.n_vars)
    return with_x(adata, adata.X.toarray() * (1 - share))


@pytest.mark.parametrize("make", [lambda a: a, normalised, lambda a: normalised(a, log=False), soup, tpm])
def test_nothing_to_warn_of(flies, said, make):
    cells = make(flies)
    sf.tl.embed(cells, model="fly-tiny")
    assert said == []


@pytest.mark.parametrize(
    ("make", "scale", "words"),
    [
        (twice, "log1p twice", "X holds log1p of log1p values in 100% of the cells; they were undone."),
        (square_roots, "sqrt", "X holds square roots in 100% of the cells; they were undone."),
        (scaled, "log1p", "X looks scaled: nearly all genes have a standard deviation of 1"),
        (log2_tpm, "log1p", "in 100% of the cells undoing log1p gave no whole counts"),
    ],
)
def test_odd_values_are_named_with_a_remedy(flies, said, make, scale, words):
    cells = make(flies)
    sf.tl.embed(cells, model="fly-tiny")
    assert cells.uns[KEY]["coverage"]["scale"] == scale
    assert len(said) == 1 and words in said[0]
    assert "Pass layer= with counts" in said[0] and "adata.raw.to_adata()" in said[0]


def test_binarised_values(flies, said):
    sf.tl.embed(with_x(flies, (flies.X > 0).astype(np.float32)), model="fly-tiny")
    assert said[0].startswith("X holds a single value in most cells, as if it was binarised")


@pytest.mark.parametrize("decimals", [2, 3])
def test_rounded_values_are_no_roots(flies, decimals):
    """Squares of whole multiples are whole multiples, too."""
    rounded = with_x(flies, np.round(normalised(flies, log=False).X.toarray(), decimals))
    sf.tl.embed(rounded, model="fly-tiny")
    assert set(rounded.uns[KEY]["coverage"]["n_cells_by_scale"]) <= {"linear", "counts"}


@pytest.mark.parametrize("make", [twice, square_roots])
def test_what_can_be_undone_is(flies, said, make):
    cells = make(flies)
    for one in (cells, flies):
        sf.tl.embed(one, model="fly-tiny")
    np.testing.assert_allclose(cells.obsm[KEY], flies.obsm[KEY], atol=1e-4)


@pytest.mark.parametrize("features", ["expression", "embedding+expression"])
def test_expression_readouts_warn_once(flies, said, features):
    sf.tl.age_clock(scaled(flies), features=features, sample_key="batch", baselines="none", model="fly-tiny")
    assert sum("looks scaled" in line for line in said) == 1


def test_a_plot_warns(flies, said):
    sf.pl.expression(scaled(flies), "Hsp68", groupby="age", show=False)
    assert "looks scaled" in said[0]


@pytest.mark.parametrize("n_plain", [1, 8, 42, 83])
def test_cells_on_two_scales_are_read_as_each_alone(flies, said, n_plain):
    sf.tl.embed(flies, model="fly-tiny")
    plain, logged = normalised(flies, log=False), normalised(flies)
    mixed = ad.concat([plain[:n_plain], logged[n_plain:]])
    sf.tl.embed(mixed, model="fly-tiny")
    np.testing.assert_allclose(mixed.obsm[KEY], flies.obsm[KEY], atol=1e-4)
    coverage = mixed.uns[KEY]["coverage"]
    assert coverage["scale"] == "mixed"
    assert coverage["n_cells_by_scale"] == {"log1p": 84 - n_plain, "linear": n_plain}
    few = flies.obs_names[0 if n_plain <= 42 and n_plain != 42 else n_plain]
    assert len(said) == 1 and f"(among them '{few}'" in said[0] and "read on its own scale" in said[0]


def test_an_outlier_is_its_own_cells_matter(flies, said):
    logged = normalised(flies)
    sf.tl.embed(logged, model="fly-tiny")
    spoilt = normalised(flies)
    spoilt.X.data[spoilt.X.indptr[7]] = 25.0
    sf.tl.embed(spoilt, model="fly-tiny")
    apart = np.abs(spoilt.obsm[KEY] - logged.obsm[KEY]).max(axis=1)
    assert np.flatnonzero(apart > 1e-3).tolist() == [7]
    assert f"(among them '{flies.obs_names[7]}')" in said[0]


def test_the_report_survives_the_disk(flies, tmp_path):
    mixed = ad.concat([normalised(flies, log=False)[:5], normalised(flies)[5:]])
    sf.tl.embed(mixed, model="fly-tiny")
    mixed.write_h5ad(tmp_path / "mixed.h5ad")
    kept = ad.read_h5ad(tmp_path / "mixed.h5ad").uns[KEY]["coverage"]
    assert kept["scale"] == "mixed" and kept["n_cells_by_scale"] == {"log1p": 79, "linear": 5}


def test_pretraining_warns_by_source(flies, said, tmp_path):
    mixed = ad.concat([normalised(flies, log=False)[:5], normalised(flies)[5:]])
    sizes = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "code_size": 8, "n_directions": 8, "code_epochs": 1}
    pretrain(mixed, out=tmp_path / "model", epochs=0.1, validation=0.2, **sizes)
    assert any(line.startswith("object-0: The cells of X are on different scales") for line in said)
