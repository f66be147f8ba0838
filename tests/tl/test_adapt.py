"""Passing proves: an adapted model reads the new genes, gains by it, and leaves what it knew as it was."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from flat_options import pretrain

import scflyformer as sf

N_KNOWN, N_NEW, N_CELLS = 60, 90, 360
KEY = "X_scflyformer"


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Cells of two families that known genes tell apart, and of four types that new genes alone do."""
    random = np.random.default_rng(0)
    family, kind = np.arange(N_CELLS) % 2, np.arange(N_CELLS) // 2 % 2
    rate = np.tile(random.uniform(0.3, 2, N_KNOWN + N_NEW), (N_CELLS, 1))
    rate[:, :12] *= np.where(family == 1, 4, 1)[:, None]
    rate[:, N_KNOWN : N_KNOWN + 8] *= np.where(family == 1, 5, 1)[:, None]
    rate[:, N_KNOWN + 20 : N_KNOWN + 45] *= np.where(kind == 1, 5, 1)[:, None]
    counts = random.poisson(rate * random.uniform(0.6, 1.6, (N_CELLS, 1)))
    names = [f"FBgn99{n:05d}" for n in range(1, N_KNOWN + 1)] + [f"new{n}" for n in range(N_NEW)]
    obs = pd.DataFrame({"family": family, "kind": kind}, index=[f"c{n}" for n in range(N_CELLS)])
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=names))


@pytest.fixture(scope="module")
def base(tmp_path_factory, cells):
    """A model of the known genes, trained on other cells."""
    out = tmp_path_factory.mktemp("models") / "base"
    pretrain(
        cells[:, :N_KNOWN].copy(), out=out, hidden_size=16, n_layers=1, n_heads=2, code_size=6, n_directions=8,
        code_epochs=2, epochs=1, warmup_steps=1, validation=0.2, min_cells=2,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, cells, base):
    out = tmp_path_factory.mktemp("models") / "adapted"
    sf.tl.adapt(cells[:240].copy(), model=base, out=out)
    return out


def vectors(cells: ad.AnnData, model) -> tuple[np.ndarray, dict]:
    cells = cells.copy()
    sf.tl.embed(cells, model=model)
    return cells.obsm[KEY], cells.uns[KEY]


def part(found: tuple[np.ndarray, dict], name: str) -> np.ndarray:
    first, last = found[1]["parts"][name]
    return found[0][:, first : last + 1]


def test_every_gene_is_read(cells, base, adapted):
    before, after = vectors(cells, base)[1], vectors(cells, adapted)[1]
    assert before["coverage"]["n_genes_mapped"] == N_KNOWN and before["coverage"]["share_counts"] < 0.6
    assert after["coverage"]["n_genes_mapped"] == N_KNOWN + N_NEW and after["coverage"]["share_counts"] == 1
    told = sf.models.load(adapted).metrics["adapted"]
    assert told["n_cells"] == 240 and told["n_new"] == N_NEW
    assert told["share_counts_before"] == pytest.approx(before["coverage"]["share_counts"], abs=0.02)


def test_largest_new_genes_are_listed(cells, adapted):
    """In order, with their shares of all counts of the cells it was adapted to."""
    counts = np.asarray(cells[:240].X.sum(axis=0)).ravel()
    shares = dict(zip(cells.var_names, counts / counts.sum(), strict=True))
    largest = sorted(cells.var_names[N_KNOWN:], key=shares.get, reverse=True)[:5]
    found = sf.models.load(adapted).metrics["adapted"]["largest_new"]
    assert list(found) == largest
    assert list(found.values()) == pytest.approx([shares[name] for name in largest])


def test_what_was_known_stays(cells, base, adapted):
    """For cells without the new genes every old number is the same; for all cells the parts say which those are."""
    known = cells[:, :N_KNOWN].copy()
    old, new = vectors(known, base), vectors(known, adapted)
    assert list(new[1]["parts"]) == ["token", "directions", "adapted", "contrast"]
    for name in ("token", "directions", "contrast"):
        np.testing.assert_allclose(part(new, name), part(old, name), atol=1e-5)
    first, second = (sf.models.load(model).vocabulary for model in (base, adapted))
    np.testing.assert_array_equal(second.gene_ids[:N_KNOWN], first.gene_ids)
    np.testing.assert_array_equal(second.medians[:N_KNOWN], first.medians)


def test_what_only_new_genes_show_is_seen(cells, base, adapted):
    """On cells that it was not adapted to: the neighbours of a cell are of its kind."""

    def agreement(model) -> float:
        x, kind = vectors(cells[240:], model)[0], cells.obs["kind"].to_numpy()[240:]
        distance = ((x[:, None] - x[None]) ** 2).sum(-1) + np.eye(len(x)) * 1e9
        return float((kind[np.argsort(distance, axis=1)[:, :10]] == kind[:, None]).mean())

    assert agreement(base) < 0.6 and agreement(adapted) > 0.9


def test_a_new_gene_stands_with_the_known_ones_it_goes_with(base, adapted):
    """Genes that rise with the known family genes get rows like theirs, noise gets next to none."""
    model = sf.models.load(adapted)
    rows = pd.DataFrame(
        model.tensors("profile_encoder.")["directions"][:, :8].astype(float), index=model.vocabulary.gene_ids
    )
    family = rows[:12].mean(axis=0) / np.linalg.norm(rows[:12].mean(axis=0))
    like, noise = (rows.loc[[f"new{n}" for n in numbers]] @ family for numbers in (range(8), range(50, 90)))
    assert like.min() > 0 and like.mean() > 5 * np.abs(noise).mean()


def test_steps_train_the_new_genes_alone(tmp_path, cells, base, adapted):
    sf.tl.adapt(cells[:240].copy(), model=base, out=tmp_path / "trained", steps=3)
    first, second = (sf.models.load(model).tensors("") for model in (adapted, tmp_path / "trained"))
    changed = {name for name in first if not np.array_equal(first[name], second[name])}
    assert changed == {
        "bert.embeddings.word_embeddings.weight", "cls.predictions.bias", "profile_decoder.weight",
        "profile_decoder.bias",
    }  # fmt: skip
    for name in changed:
        np.testing.assert_array_equal(first[name][:-N_NEW], second[name][:-N_NEW])


def test_the_same_seed_gives_the_same_model(tmp_path, cells, base, adapted):
    (tmp_path / "again").mkdir()  # an empty folder is free
    sf.tl.adapt(cells[:240].copy(), model=base, out=tmp_path / "again")
    assert sf.models.load(tmp_path / "again").sha256 == sf.models.load(adapted).sha256


def test_a_model_may_be_adapted_again(tmp_path, cells, adapted):
    """To a file without a gene that is new: it gets directions of these cells, and nothing else."""
    sf.tl.adapt(cells[:240].copy(), model=adapted, out=tmp_path / "twice")
    config = sf.models.load(tmp_path / "twice").config
    assert config["n_adapted"] == 2 * sf.models.load(adapted).config["n_adapted"]
    assert sf.models.load(tmp_path / "twice").metrics["adapted"]["n_new"] == 0


def test_the_other_tools_take_it(cells, adapted):
    """Annotation and perturbation run on an adapted model, and perturb one of its new genes."""
    asked = cells[240:].copy()
    asked.obs["label"] = asked.obs["kind"].map({0: "a", 1: "b"}).astype("category")
    sf.tl.annotate(asked, label_key="label", model=adapted, baselines="none")
    assert (asked.obs["annotation_best"] == asked.obs["label"]).mean() > 0.9
    sf.tl.perturb(
        asked, genes=["new25"], state_key="kind", start=1, goal=0, model=adapted, n_null=5, max_cells=20
    )  # fmt: skip
    assert set(asked.uns["perturb"]["results"]["gene"]) == {"new25"}


def test_what_cannot_be_adapted(tmp_path, cells, base):
    with pytest.raises(ValueError, match="got 20; give 50 or more"):
        sf.tl.adapt(cells[:20].copy(), model=base, out=tmp_path / "a")
    with pytest.raises(FileExistsError, match="give another `out`"):
        sf.tl.adapt(cells, model=base, out=base)
    pretrain(
        cells[:, :N_KNOWN].copy(), out=tmp_path / "mlm", objective="mlm", hidden_size=16, n_layers=1, n_heads=2,
        epochs=1, warmup_steps=1, validation=0.2, min_cells=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"no profile code.*tl\.pretrain"):
        sf.tl.adapt(cells, model=tmp_path / "mlm", out=tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlm"]


def test_provenance_and_card(base, adapted):
    content = json.loads((adapted / "provenance.json").read_text(encoding="utf-8"))
    assert content["adapted"]["from"]["sha256"] == sf.models.load(base).sha256
    assert "test on others" in (adapted / "README.md").read_text(encoding="utf-8")
