"""Labels from the file alone."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scflyformer as sf


@pytest.fixture(scope="module")
def labelled() -> ad.AnnData:
    cells = sf.datasets.fly_brain_simulated(300)
    sf.tl.annotate(cells)
    return cells


def test_brain_cells_get_their_types(labelled: ad.AnnData) -> None:
    found = labelled.uns["annotation"]
    assert found["params"]["classifier"] == "fly-brain" and found["params"]["mode"] == "classifier"
    shares = found["choice"].set_index("classifier")["share_known"]
    assert shares["fly-brain"] > 0.9 > shares.drop(["fly-brain", "fly-atlas"]).max()
    right = labelled.obs["annotation_best"].astype(str) == labelled.obs["cell_type"].astype(str)
    assert right.mean() > 0.7


def test_each_cell_has_a_term_at_or_above_its_best_label(labelled: ad.AnnData) -> None:
    from scflyformer.ontology._terms import fbbt

    terms = labelled.uns["annotation"]["terms"]["term"].to_numpy()
    best = terms[labelled.obs["annotation_best"].cat.codes]
    known = labelled.obs["annotation_novelty"] <= 0.99
    above = [term in fbbt().ancestors(leaf) for term, leaf in zip(labelled.obs["annotation_fbbt"], best, strict=True)]
    assert np.mean(np.array(above)[known]) > 0.95
    assert (labelled.obs["annotation_level"][~known] == len(terms)).all()
    assert labelled.obs["annotation_fbbt_name"].isin([fbbt().names[t] for t in labelled.obs["annotation_fbbt"]]).all()


def test_the_choice_does_not_hang_on_limits_of_the_call() -> None:
    cells = sf.datasets.fly_brain_simulated(100)
    sf.tl.annotate(cells, max_novelty=1, min_score=0)
    assert cells.uns["annotation"]["params"]["classifier"] == "fly-brain"
    assert (cells.obs["annotation"] != "Unknown").all()


def test_the_table_of_cells_has_the_terms(labelled: ad.AnnData) -> None:
    table = sf.get.annotation_df(labelled)
    assert table.columns.tolist() == ["label", "best", "score", "novelty", "fbbt", "fbbt_name", "level"]
    assert (table["level"] == labelled.obs["annotation_level"]).all()


def test_a_lower_precision_gives_finer_terms(labelled: ad.AnnData) -> None:
    cells = labelled.copy()
    sf.tl.annotate(cells, classifier="fly-brain", precision=0.5)
    assert cells.obs["annotation_level"].mean() < labelled.obs["annotation_level"].mean()


def test_a_whole_embedding_in_the_object_gives_the_same(labelled: ad.AnnData) -> None:
    cells = sf.datasets.fly_brain_simulated(300)
    sf.tl.embed(cells, model="fly")
    sf.tl.annotate(cells)
    np.testing.assert_allclose(cells.obsm["annotation_proba"], labelled.obsm["annotation_proba"], atol=1e-6)


def test_labels_in_terms_are_rolled_up_too() -> None:
    cells = sf.datasets.fly_brain_simulated(300)
    given = {"A.B-KC": "FBbt:00100248", "G-KC": "FBbt:00049828", "T4.T5": "FBbt:00003726"}
    sf.pp.harmonize_labels(cells, "cell_type", mapping=given)
    asked = {"sample_key": "batch", "model": "fly-tiny", "baselines": "none"}
    sf.tl.annotate(cells, label_key="cell_type_fbbt", **asked)
    assert set(cells.uns["annotation"]["terms"]["term"]) == set(cells.obs["cell_type_fbbt"].dropna())
    assert cells.obs["annotation_level"].between(1, 5).all()
    sf.tl.annotate(cells, label_key="cell_type", **asked, key_added="plain")
    assert "plain_fbbt" not in cells.obs and "terms" not in cells.uns["plain"]


def test_terms_are_kept_with_a_saved_classifier(tmp_path) -> None:
    cells = sf.datasets.fly_brain_simulated(300)
    given = {"A.B-KC": "FBbt:00100248", "G-KC": "FBbt:00049828"}
    sf.pp.harmonize_labels(cells, "cell_type", mapping=given)
    asked = {"sample_key": "batch", "model": "fly-tiny", "baselines": "none"}
    sf.tl.annotate(cells, label_key="cell_type_fbbt", **asked, save=tmp_path / "types")
    new = sf.datasets.fly_brain_simulated(50, seed=1)
    sf.tl.annotate(new, classifier=tmp_path / "types")
    assert new.uns["annotation"]["roll_up"]["threshold"] == cells.uns["annotation"]["roll_up"]["threshold"]
    assert "annotation_fbbt" in new.obs


def test_cells_of_noise_are_not_labelled() -> None:
    cells = sf.datasets.fly_brain_simulated(200)
    rng = np.random.default_rng(0)
    cells.X = rng.poisson(0.3, cells.shape).astype(np.float32)
    sf.tl.annotate(cells)
    assert cells.uns["annotation"]["params"]["classifier"] == "fly-atlas"
    assert (cells.obs["annotation"] == "Unknown").mean() > 0.9
    assert cells.obs["annotation_level"].median() > 0.9 * len(cells.uns["annotation"]["terms"])


def test_a_reference_without_its_labels_is_still_an_error() -> None:
    cells = sf.datasets.fly_brain_simulated(50)
    with pytest.raises(ValueError, match="label_key is missing"):
        sf.tl.annotate(cells, reference=cells)


def test_one_cell_is_labelled() -> None:
    cell = sf.datasets.fly_brain_simulated(30)[:1].copy()
    sf.tl.annotate(cell)
    assert cell.obs["annotation_fbbt"].notna().all() and cell.obs["annotation_level"].iloc[0] >= 1


def test_human_genes_are_an_error() -> None:
    cells = sf.datasets.fly_brain_simulated(30)
    cells.var_names = [f"ENSG{number:011d}" for number in range(cells.n_vars)]
    with pytest.raises(ValueError, match="ENSG00000000000"):
        sf.tl.annotate(cells)
    assert "annotation" not in cells.obs and not any("annotation" in key for key in cells.uns)


def test_twenty_genes_are_not_enough_to_be_sure_of() -> None:
    cells = sf.datasets.fly_brain_simulated(60)
    cells = cells[:, np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel())[:20]].copy()
    for tool in (sf.tl.annotate, sf.tl.age_clock):
        cells.obs = cells.obs.drop(columns="age", errors="ignore")
        with pytest.raises(ValueError, match="have 20 genes; expected 200 or more"):
            tool(cells)
