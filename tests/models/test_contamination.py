"""Passing proves: training cells are recognised in every form, others are not, and a damaged list is an error."""

import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import scflyformer as sf

DATA = Path(os.environ.get("SCFLYFORMER_DATA") or Path(__file__).parents[2] / ".." / "shared" / "data")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Simulated cells, and a classifier that has learnt from the first half of them."""
    cells = sf.datasets.fly_brain_simulated(600)
    folder = tmp_path_factory.mktemp("classifier") / "types"
    first = cells[:300].copy()
    with sf.settings.override(device="cpu"):
        sf.tl.annotate(first, label_key="cell_type", model="fly-tiny", baselines="none", save=folder)
    return cells, folder


def labels_row(table):
    return table.set_index("use").loc["labels"]


def test_training_cells_are_told_from_others(classifier):
    cells, folder = classifier
    found = labels_row(sf.models.contamination(cells, model=folder, key_added="seen"))
    assert (
        found["n_cells"] == 300
        and found["verdict"].startswith("seen")
        and found["share"] == pytest.approx(0.5, abs=0.02)
    )
    assert cells.obs["seen"].to_numpy()[:300].all() and cells.obs["seen"].to_numpy()[300:].mean() < 0.03


@pytest.mark.parametrize("form", ["log1p", "genes in another order", "FlyBase ids", "other cells' order"])
def test_the_form_of_the_cells_does_not_matter(classifier, form):
    cells, folder = classifier
    cells = cells[:300].copy()
    if form == "log1p":
        sc.pp.normalize_total(cells, target_sum=1e4)
        sc.pp.log1p(cells)
    elif form == "genes in another order":
        cells = cells[:, ::-1].copy()
    elif form == "FlyBase ids":
        cells.var_names = cells.var["FBgn"].to_numpy()
    else:
        cells = cells[::-1].copy()
    found = labels_row(sf.models.contamination(cells, model=folder))
    assert found["share"] == pytest.approx(1, abs=0.01)


def test_applying_it_to_its_own_cells_warns(classifier, caplog):
    cells, folder = classifier
    first, rest = cells[:300].copy(), cells[300:].copy()
    with sf.settings.override(device="cpu"):
        sf.tl.annotate(first, classifier=folder)
        sf.tl.annotate(rest, classifier=folder)
    assert first.uns["annotation"]["params"]["training_seen"] > 0.95
    assert rest.uns["annotation"]["params"]["training_seen"] < 0.05


def test_a_folder_without_a_list_says_so(classifier, tmp_path):
    cells, folder = classifier
    shutil.copytree(folder, tmp_path / "old")
    (tmp_path / "old" / "cells.safetensors").unlink()
    table = sf.models.contamination(cells, model=tmp_path / "old")
    assert table["verdict"].str.startswith("not known").any()


def test_a_damaged_list_is_an_error(classifier, tmp_path):
    cells, folder = classifier
    shutil.copytree(folder, tmp_path / "damaged")
    file = tmp_path / "damaged" / "cells.safetensors"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cells\.safetensors"):
        sf.models.contamination(cells, model=tmp_path / "damaged")


@pytest.mark.skipif(not (DATA / "fly" / "fca_head.h5ad").exists(), reason="needs the real data, SCFLYFORMER_DATA")
def test_real_libraries():
    cells = ad.read_h5ad(DATA / "fly" / "fca_head.h5ad")
    held = cells.obs["batch"].astype(str).str.contains("FCA4|FCA13").to_numpy()
    random = np.random.default_rng(0)
    for part, seen in ((~held, True), (held, False)):
        some = cells[np.sort(random.choice(np.flatnonzero(part), 500, replace=False))].copy()
        found = sf.models.contamination(some, model="fly", gene_key="FBgn").set_index("set").loc["fca_head"]
        assert found["verdict"].startswith("seen" if seen else "not seen")
        assert found["share"] > 0.98 if seen else found["share"] < 0.02
