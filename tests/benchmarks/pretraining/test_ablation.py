"""What stands in for a part of a model: components as scikit-learn has them, an untrained BERT, an MLP that learns."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from flat_options import pretrain
from scipy import sparse

import scflyformer as sf

N_GENES = 30


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A small model with its checkpoints, and its cells: one source over all genes, one over two thirds of them."""
    import anndata as ad
    import pandas as pd

    random = np.random.default_rng(0)
    rate = np.where(np.arange(N_GENES) % 2 == random.integers(0, 2, (160, 1)), 5.0, 0.5)
    counts = sparse.csr_matrix(random.poisson(rate).astype(np.float32))
    obs = pd.DataFrame({"batch": [f"b{n % 4}" for n in range(160)]}, index=[f"c{n}" for n in range(160)])
    cells = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{n:02d}" for n in range(N_GENES)]))
    cells.var["FBgn"] = cells.var_names
    out = tmp_path_factory.mktemp("model") / "m"
    pretrain(
        [cells, cells[:, :20].copy()], out=out, sample_key="batch", validation=["b3"], hidden_size=16, n_layers=1,
        n_heads=2, code_size=8, n_directions=12, code_epochs=1, epochs=1.0, batch_tokens=400, min_cells=2, device="cpu",
        keep_checkpoints=True,
    )  # fmt: skip
    return sf.models.load(out), cells


@pytest.fixture
def corpus(pretrained):
    from scflyformer.training._prepare import open_corpus

    return open_corpus(pretrained[0].path, validation=["b3"], seed=0)


def test_components_are_those_of_scikit_learn(pretrained, corpus, tmp_path):
    """Of cells that measured every gene; what was not measured counts as average."""
    from sklearn.decomposition import PCA

    from benchmarks.pretraining.variants import components

    store = corpus.store
    whole = np.flatnonzero(store.panels[store.source].all(axis=1))
    assert 0 < len(whole) < len(store)
    model = sf.models.load(components(tmp_path, pretrained[0], store, whole))
    rows = store.rows(whole)
    x = sparse.csr_matrix((rows.values, rows.tokens - 3, rows.indptr), shape=(len(rows), N_GENES)).toarray()
    oracle = PCA(12, svd_solver="full").fit(x)
    found = model.network().profile_encoder
    overlap = np.abs((found.directions.detach().numpy() * oracle.components_.T).sum(0))
    np.testing.assert_allclose(overlap[:2], 1, atol=0.01)
    np.testing.assert_allclose(found.centre.detach().numpy(), x.mean(0), rtol=2e-3, atol=1e-3)


def test_a_bert_without_training_keeps_the_code(pretrained, tmp_path):
    from benchmarks.pretraining.variants import untrained_bert

    model, cells = pretrained
    vectors = []
    for each in (model.path, untrained_bert(tmp_path, model)):
        sf.tl.embed(cells, model=each)
        vectors.append(cells.obsm["X_scflyformer"].copy())
    np.testing.assert_allclose(vectors[0][:, 16:], vectors[1][:, 16:], atol=1e-5)
    assert np.abs(vectors[0][:, :16] - vectors[1][:, :16]).max() > 0.1


def test_an_mlp_learns_to_find_the_other_half(pretrained, corpus, tmp_path, monkeypatch):
    """With more passes its loss falls; its output stands before the code, or alone."""
    from torch.nn import functional

    from benchmarks.pretraining import variants as variants

    model, cells = pretrained
    losses: list[float] = []
    cross_entropy = functional.cross_entropy

    def noted(*args, **kwargs):
        loss = cross_entropy(*args, **kwargs)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(variants.functional, "cross_entropy", noted)
    data = SimpleNamespace(name="cells", key="1", adata=cells, used=np.arange(160))
    alone = variants.Mlp(tmp_path, model, corpus, passes=12, with_code=False).blocks(data, None)["part"]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    n = len(losses)
    joined = variants.Mlp(tmp_path, model, corpus, passes=12, with_code=True).blocks(data, None)["part"]
    assert len(losses) == n, "it is kept, and not trained again"
    np.testing.assert_allclose(joined[:, :16], alone, atol=1e-5)
    assert joined.shape == (160, 16 + 8 + 12)


def test_columns_without_checkpoints_are_those_of_the_model(pretrained, tmp_path):
    from benchmarks.pretraining.ablation import columns_of

    whole = [column.name for column in columns_of(tmp_path, pretrained[0], 1.0, validation=["b3"])]
    assert {"MLP's token alone", "code and MLP in BERT's place", "PCA of pretraining cells"} < set(whole)
    copy = shutil.copytree(pretrained[0].path, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoints"))
    names = [column.name for column in columns_of(tmp_path, sf.models.load(copy), 1.0)]
    assert names[:3] == ["code alone", "token alone", "everything"]
    assert "MLP's token alone" not in names
