"""Which model runs where none is named, which embedding is used, and what is said when it is another one."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp

import scflyformer as sf
from scflyformer import _log
from scflyformer.data import _vectors

from ..conftest import make_cells

KEY = "X_scflyformer"
STATES = {"genes": ["tiny1"], "state_key": "age", "start": 30, "goal": 5, "n_null": 5}


@pytest.fixture
def cells() -> ad.AnnData:
    return make_cells(120, seed=3)


@pytest.fixture(scope="session")
def other_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of another model of the same genes."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other") / "mine"
    shutil.copytree(tiny_model, folder)
    tensors = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    name = "bert.embeddings.word_embeddings.weight"
    tensors[name] = torch.randn(tensors[name].shape, generator=generator)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(_log, "warning", heard.append)
    return heard


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that cells are embedded with."""
    from scflyformer.data import _embedding
    from scflyformer.tl import _embed

    names: list[str] = []

    def noting(adata, model, *how, **more):
        names.append(model.name)
        return _vectors.embed_cells(adata, model, *how, **more)

    for module in (_embed, _embedding):
        monkeypatch.setattr(module, "embed_cells", noting)
    return names


def annotate(adata: ad.AnnData, **more) -> None:
    sf.tl.annotate(adata, **{"label_key": "cell_type", "sample_key": "batch", "baselines": "none"} | more)


def date(adata: ad.AnnData, **more) -> None:
    sf.tl.age_clock(adata, **{"sample_key": "batch", "baselines": "none"} | more)


def ran(adata: ad.AnnData, key: str) -> str:
    return adata.uns[key]["params"]["model"]


def test_every_tool_follows_the_embedding(cells, other_model, said, embedded):
    sf.tl.embed(cells, model=other_model)
    annotate(cells)
    date(cells)
    assert embedded == ["mine"]  # once
    sf.tl.perturb(cells, **STATES)
    assert [ran(cells, key) for key in (KEY, "annotation", "age_clock", "perturb")] == ["mine"] * 4
    sf.pp.tokenize(cells)
    assert ran(cells, "tokens") == "mine"
    assert not [line for line in said if "obsm" in line]


def test_without_an_embedding_the_settings_name_the_model(cells, other_model):
    with sf.settings.override(model=other_model):
        annotate(cells)
        date(cells)
        sf.tl.perturb(cells, **STATES)
        sf.pp.tokenize(cells)
        for key in ("annotation", "age_clock", "perturb", "tokens"):
            assert ran(cells, key) == "mine"
        sf.tl.embed(cells)
        assert ran(cells, KEY) == "mine"
    assert sf.settings.model == "fly"
    with pytest.raises(ValueError, match="model is ''; expected the name of a model or its folder"):
        sf.settings.model = ""


def test_an_embedding_under_another_key(cells, tiny_model, other_model, embedded):
    sf.tl.embed(cells, model=tiny_model)
    sf.tl.embed(cells, model=other_model, key_added="X_mine")
    embedded.clear()
    annotate(cells, use_rep="X_mine")
    date(cells, use_rep="X_mine")
    assert embedded == []
    sf.tl.perturb(cells, use_rep="X_mine", **STATES)
    assert {ran(cells, key) for key in ("annotation", "age_clock", "perturb")} == {"mine"}
    sf.tl.embed(cells, use_rep="X_mine", key_added="X_again")
    np.testing.assert_allclose(cells.obsm["X_again"], cells.obsm["X_mine"], atol=1e-5)
    for call in (annotate, date, sf.tl.embed, lambda a, **more: sf.tl.perturb(a, **STATES, **more)):
        with pytest.raises(KeyError, match="use_rep: no 'X_min' in adata.obsm; did you mean 'X_mine'"):
            call(cells, use_rep="X_min")


def test_an_embedding_under_another_key_is_pointed_out(cells, tiny_model, said):
    sf.tl.embed(cells, model=tiny_model, key_added="X_mine")
    with sf.settings.override(model=tiny_model):
        annotate(cells)
    assert "for the embedding in obsm['X_mine'] and its model, pass use_rep='X_mine'" in said[0]


def test_another_model_is_said(cells, tiny_model, other_model, said, embedded):
    sf.tl.embed(cells, model=tiny_model)
    annotate(cells, model=other_model)
    assert embedded == ["tiny", "mine"] and ran(cells, "annotation") == "mine"
    assert any(
        line.startswith(f"annotate: obsm['{KEY}'] is not used, since it was made by model 'tiny'; the cells are")
        for line in said
    )
    date(cells, model=other_model)
    assert any(line.startswith(f"age_clock: obsm['{KEY}'] is not used") for line in said)
    sf.tl.perturb(cells, model=other_model, **STATES)
    assert f"perturb: runs model 'mine'; obsm['{KEY}'] was made by model 'tiny'." in said
    with sf.settings.override(model=other_model):
        sf.tl.embed(cells)
    assert f"embed: runs model 'tiny', which made obsm['{KEY}']; pass model= for another." in said


@pytest.mark.parametrize(
    ("how", "words"), [({"layer": "other"}, "layer=None"), ({"gene_key": "FBgn"}, "gene_key=None")]
)
def test_other_values_or_names_are_said(cells, tiny_model, said, embedded, how, words):
    cells.layers["other"] = cells.X.copy()
    sf.tl.embed(cells, model=tiny_model)
    annotate(cells, **how)
    assert len(embedded) == 2
    assert any(f"is not used, since it was made with {words}" in line for line in said)


def test_what_the_embedding_was_made_from_counts(cells, tiny_model, said, embedded):
    """Made from a layer, it is used where no layer is named, and all else is read from there; X may hold anything."""
    cells.layers["counts"] = cells.X.copy()
    sf.tl.embed(cells, model=tiny_model, layer="counts", gene_key="FBgn")
    cells.X = -cells.X
    cells.var_names = [f"x{n}" for n in range(cells.n_vars)]
    annotate(cells, baselines=["expression", "random"])
    annotate(cells[:20].copy(), reference=cells)
    annotate(cells, method="finetune", epochs=1, key_added="finetuned")
    date(cells, baselines="all")
    sf.tl.perturb(cells, **STATES)
    assert embedded == ["tiny"] * 3  # two of them by untrained networks
    assert not [line for line in said if "obsm" in line]


class TestChanged:
    def test_values_that_changed_since(self, cells, tiny_model, said, embedded):
        sf.tl.embed(cells, model=tiny_model)
        cells.X = cells.X[np.random.default_rng(0).permutation(120)]
        annotate(cells)
        date(cells)
        assert len(embedded) == 3
        words = f"obsm['{KEY}'] is not used, since X has changed since it was made; the cells are embedded anew"
        assert [line.split(":")[0] for line in said if words in line] == ["annotate", "age_clock"]
        fresh = cells.copy()
        del fresh.obsm[KEY], fresh.uns
        annotate(fresh, model=tiny_model)
        np.testing.assert_allclose(cells.obsm["annotation_proba"], fresh.obsm["annotation_proba"], atol=1e-4)

    @pytest.mark.parametrize("layer", [None, "counts"])
    def test_a_layer_made_anew_from_the_layer(self, cells, tiny_model, said, embedded, layer):
        cells.layers["counts"] = cells.X.copy()
        sf.tl.embed(cells, model=tiny_model, layer="counts")
        cells.layers["counts"] = cells.X[::-1]
        cells.X = -cells.X
        annotate(cells, layer=layer)
        assert len(embedded) == 2
        assert any("since layers['counts'] has changed since" in line for line in said)

    def test_what_gives_the_same_tokens_is_no_change(self, cells, tiny_model, said, embedded):
        """Normalising, taking logs, another storage or order of cells and genes, fewer cells or genes, saving."""
        sf.tl.embed(cells, model=tiny_model)
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
        cells.X = sp.csc_matrix(cells.X)
        rng = np.random.default_rng(0)
        for other in (
            cells,
            cells[rng.permutation(120)].copy(),
            cells[:, rng.permutation(cells.n_vars)].copy(),
            cells[::2].copy(),
            cells[rng.permutation(120)[:90]],
            cells[:, :45].copy(),
            cells[::2, ::2],
        ):
            annotate(other)
        assert len(embedded) == 1 and not [line for line in said if "obsm" in line]

    def test_after_reading_it_back(self, cells, tiny_model, tmp_path, embedded):
        sf.tl.embed(cells, model=tiny_model)
        cells.write_h5ad(tmp_path / "cells.h5ad")
        again = ad.read_h5ad(tmp_path / "cells.h5ad")
        annotate(again)
        assert len(embedded) == 1
        again.X.data[:] = again.X.data[::-1]
        annotate(again)
        assert len(embedded) == 2

    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    @pytest.mark.parametrize("n_names", [1, 7])
    def test_cells_of_one_name(self, cells, tiny_model, embedded, n_names):
        cells.obs_names = [f"c{n % n_names}" for n in range(120)]
        sf.tl.embed(cells, model=tiny_model)
        rng = np.random.default_rng(0)
        annotate(cells[rng.permutation(120)[:90]].copy())
        assert len(embedded) == 1
        cells.X = cells.X[:, ::-1].tocsr()
        annotate(cells)
        assert len(embedded) == 2

    def test_the_synonym_file_is_gone(self, cells, tiny_model, said, embedded, tmp_path):
        file = tmp_path / "names.tsv"
        file.write_text("stranger0\tFBgn9900001\n")
        with sf.settings.override(synonyms=file):
            sf.tl.embed(cells, model=tiny_model)
        file.unlink()
        annotate(cells)
        assert len(embedded) == 1
        assert any("could not be checked (No synonym file at" in line for line in said)

    @pytest.mark.parametrize("zero_center", [True, False])
    def test_values_that_cannot_be_read_any_more(self, cells, tiny_model, said, embedded, zero_center):
        """After scanpy's usual scaling there is nothing to embed anew from."""
        sf.tl.embed(cells, model=tiny_model)
        cells.X = cells.X.toarray()
        sc.pp.log1p(cells)
        sc.pp.scale(cells, zero_center=zero_center)
        annotate(cells)
        date(cells)
        assert len(embedded) == 1
        assert any("the control 'depth' is left out: X holds negative values" in line for line in said) == zero_center
        features = cells.uns["age_clock"]["results"]["features"].tolist()
        assert features == ["embedding", *(["depth"] * (not zero_center)), "mean"]
        assert any("X can no longer be read as the expression that obsm" in line for line in said)


class TestAnyEmbedding:
    @pytest.fixture
    def with_pca(self, cells):
        cells.obsm["X_pca"] = sc.pp.pca(cells.X.toarray(), n_comps=8)
        return cells

    @pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_array, pd.DataFrame, np.float16, np.int32])
    def test_any_form(self, with_pca, embedded, form):
        values = with_pca.obsm["X_pca"] * 10
        with_pca.obsm["X_pca"] = (
            pd.DataFrame(values, index=with_pca.obs_names) if form is pd.DataFrame else form(values)
        )
        date(with_pca, use_rep="X_pca")
        annotate(with_pca, use_rep="X_pca")
        assert embedded == [] and "model" not in with_pca.uns["annotation"]["params"]
        assert with_pca.uns["annotation"]["metrics"]["accuracy"].iloc[0] > 0.8

    @pytest.mark.parametrize(
        "bad", [np.full((120, 2), np.nan), np.full((120, 2), "a", dtype=object), np.ones((120, 2), dtype=complex)]
    )
    def test_no_numbers(self, cells, bad):
        cells.obsm["X_bad"] = bad
        for call in (annotate, date):
            with pytest.raises(ValueError, match=r"obsm\['X_bad'\] holds NaN or infinite values or is no matrix"):
                call(cells, use_rep="X_bad")
        assert not cells.uns

    def test_with_a_reference(self, with_pca, embedded):
        reference, new = with_pca[:90].copy(), with_pca[90:].copy()
        annotate(new, reference=reference, use_rep="X_pca")
        assert (new.obs["annotation_best"].astype(str) == new.obs["cell_type"].astype(str)).mean() > 0.8
        del reference.obsm["X_pca"]
        with pytest.raises(KeyError, match="use_rep: no 'X_pca' in adata.obsm"):
            annotate(new, reference=reference, use_rep="X_pca")
        reference.obsm["X_pca"] = np.ones((90, 3))
        with pytest.raises(ValueError, match="has 8 dimensions in the cells and 3 in the reference"):
            annotate(new, reference=reference, use_rep="X_pca")

    @pytest.mark.parametrize("more", [{"save": "here"}, {"method": "finetune"}, {"baselines": ["random"]}])
    def test_what_needs_a_model(self, with_pca, more):
        with pytest.raises(ValueError, match=r"needs the model that made obsm\['X_pca'\].*Pass it by model="):
            annotate(with_pca, use_rep="X_pca", **more)

    def test_baselines_that_need_none(self, with_pca):
        annotate(with_pca, use_rep="X_pca", baselines="auto")
        features = with_pca.uns["annotation"]["metrics"]["features"].tolist()
        assert features == ["embedding", "expression", "pca", "neighbours", "majority"]

    def test_perturbing_needs_the_model(self, with_pca):
        with pytest.raises(ValueError, match=r"perturb needs the model that made obsm\['X_pca'\]"):
            sf.tl.perturb(with_pca, use_rep="X_pca", **STATES)


def test_a_model_that_is_gone(cells, other_model, tmp_path, said):
    """Numbers are as good without it; what needs it says so."""
    folder = tmp_path / "gone"
    shutil.copytree(other_model, folder)
    sf.tl.embed(cells, model=folder)
    shutil.rmtree(folder)
    annotate(cells)
    date(cells)
    assert ran(cells, "annotation") == ran(cells, "age_clock") == "gone"
    for call in (lambda: sf.tl.perturb(cells, **STATES), lambda: sf.tl.embed(cells)):
        with pytest.raises(ValueError, match="none that can be opened. Pass it by model="):
            call()


def test_a_reference_brings_its_model(cells, other_model, embedded):
    reference, new = cells[:90].copy(), cells[90:].copy()
    sf.tl.embed(reference, model=other_model)
    annotate(new, reference=reference)
    assert ran(new, "annotation") == "mine" and embedded == ["mine", "mine"]


def test_the_same_embedding_whatever_the_byte_order(cells, tiny_model):
    sf.tl.embed(cells, model=tiny_model)
    dense = cells.X.toarray()
    for matrix in (dense.astype(">f4"), dense.astype(">f8"), dense.astype(">i4"), dense.astype(np.uint8)):
        other = ad.AnnData(matrix, obs=cells.obs, var=cells.var)
        sf.tl.embed(other, model=tiny_model)
        np.testing.assert_allclose(other.obsm[KEY], cells.obsm[KEY], atol=1e-5)
    swapped = sp.csr_matrix(cells.X)
    swapped.data = swapped.data.astype(">f4")
    other = ad.AnnData(swapped, obs=cells.obs, var=cells.var)
    sf.tl.embed(other, model=tiny_model)
    np.testing.assert_allclose(other.obsm[KEY], cells.obsm[KEY], atol=1e-5)
