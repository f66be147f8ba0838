"""Cells that a model was trained on are recognised, however they are stored, and other cells are not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from flat_options import pretrain

import scflyformer as sf
from scflyformer.models._manifest import FILE, Manifest
from scflyformer.models._shipped import FOLDER

SMALL = {
    "hidden_size": 16, "n_layers": 1, "n_heads": 2, "code_size": 8, "n_directions": 8, "code_epochs": 1, "epochs": 0.1,
    "warmup_steps": 1, "validation": 0.2, "min_cells": 2, "gene_key": "FBgn",
}  # fmt: skip
N_CELLS = 400


@pytest.fixture(scope="module")
def brain() -> ad.AnnData:
    return sf.datasets.fly_brain_simulated(N_CELLS)


@pytest.fixture(scope="module")
def panel(brain: ad.AnnData) -> ad.AnnData:
    """The same cells with 900 of their genes, which is what the model is trained on."""
    return brain[:, np.sort(np.random.default_rng(0).permutation(brain.n_vars)[:900])].copy()


@pytest.fixture(scope="module")
def model(panel: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "brain"
    pretrain(panel, out=folder, **SMALL)
    return folder


def row_of(cells: ad.AnnData, model: Path | str, name: str = "object-0", **more) -> pd.Series:
    table = sf.models.contamination(cells, model=model, **({"gene_key": "FBgn"} | more))
    return table[table["set"] == name].iloc[0]


def log1p_cp10k(cells: ad.AnnData) -> ad.AnnData:
    changed = cells.copy()
    x = sp.csr_matrix(changed.X).astype(np.float64)
    totals = np.asarray(x.sum(axis=1)).ravel()
    changed.X = sp.csr_matrix(x.multiply(1e4 / totals[:, None])).log1p().astype(np.float32)
    return changed


def reordered(cells: ad.AnnData) -> ad.AnnData:
    random = np.random.default_rng(1)
    return cells[random.permutation(cells.n_obs)][:, random.permutation(cells.n_vars)].copy()


def by_symbols(cells: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(cells.X, var=pd.DataFrame({"FBgn": cells.var_names}, index=cells.var_names))


def split_gene(cells: ad.AnnData) -> ad.AnnData:
    """Return cells in which half of the genes stand in two columns."""
    n = cells.n_vars // 2
    x = sp.csr_matrix(cells.X)
    var = pd.concat([cells.var, cells.var[:n]])[["FBgn"]]
    return ad.AnnData(sp.hstack([x, x[:, :n]]).tocsr(), var=var.set_axis([f"column{at}" for at in range(len(var))]))


def dense(cells: ad.AnnData) -> ad.AnnData:
    changed = cells.copy()
    changed.X = changed.X.toarray()
    return changed


def csc(cells: ad.AnnData) -> ad.AnnData:
    changed = cells.copy()
    changed.X = sp.csc_matrix(changed.X)
    return changed


STORED: dict[str, Callable[[ad.AnnData], ad.AnnData]] = {
    "as it is": lambda cells: cells,
    "log1p": log1p_cp10k,
    "permuted": reordered,
    "log1p permuted": lambda cells: reordered(log1p_cp10k(cells)),
    "symbols": by_symbols,
    "split": split_gene,
    "dense": dense,
    "csc": csc,
    "view": lambda cells: cells[::2],
}


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("genes", ["panel", "all"])
def test_training_cells_are_found(brain: ad.AnnData, panel: ad.AnnData, model: Path, genes: str, how: str) -> None:
    cells = STORED[how](panel if genes == "panel" else brain)
    row = row_of(cells, model)
    assert (row["n_cells"], row["use"]) == (N_CELLS, "pretraining")
    assert row["n_compared"] >= 0.95 * cells.n_obs and row["n_matched"] == row["n_compared"]
    assert row["verdict"] == "seen: 100.0% of the cells" and row["share"] == 1


def test_other_cells_are_not_found(model: Path) -> None:
    others = sf.datasets.fly_brain_simulated(2000, seed=5)
    row = row_of(others, model)
    assert row["n_compared"] > 1900 and row["n_matched"] <= 2
    assert row["verdict"] == "not seen: no more matches than by chance"
    assert row["expected"] == pytest.approx(row["n_compared"] / 2**16, rel=0.01)


def test_a_mixture_is_told_apart_cell_by_cell(brain: ad.AnnData, model: Path) -> None:
    others = sf.datasets.fly_brain_simulated(300, seed=5)
    mixed = ad.concat([brain[:100], others], index_unique="-")
    mixed.var["FBgn"] = brain.var["FBgn"]
    row = row_of(mixed, model, key_added="seen")
    assert row["share"] == pytest.approx(0.25, abs=0.02)
    seen = mixed.obs["seen"].to_numpy()
    assert seen.dtype == bool and seen[:100].mean() > 0.95 and seen[100:].sum() <= 1
    assert list(mixed.uns["seen"]["results"]["set"]) == ["object-0"]
    assert mixed.uns["seen"]["params"]["model"] == "brain"


def test_nothing_is_written_unless_asked_for(brain: ad.AnnData, model: Path, tmp_path: Path) -> None:
    cells = brain.copy()
    row_of(cells, model)
    assert list(cells.obs) == list(brain.obs) and not set(cells.uns) - set(brain.uns)
    row_of(cells, model, key_added="seen")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    stored = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert stored.obs["seen"].all() == cells.obs["seen"].all()
    pd.testing.assert_frame_equal(stored.uns["seen"]["results"], cells.uns["seen"]["results"])


@pytest.mark.parametrize(
    ("n_lost", "verdict"), [(1, "seen"), (4, "seen"), (5, "cannot be told: 5 of the 256 genes that"), (60, "cannot be")]
)
def test_a_few_missing_genes_do_no_harm(panel: ad.AnnData, model: Path, n_lost: int, verdict: str) -> None:
    opened = sf.models.load(model)
    (known,) = Manifest.of_model(opened).sets
    lost = opened.vocabulary.gene_ids[known.genes[:n_lost]]
    row = row_of(panel[:, ~panel.var["FBgn"].isin(lost)].copy(), model)
    assert row["verdict"].startswith(verdict)
    assert (row["n_matched"] > 0.9 * N_CELLS) == (verdict == "seen")


def test_cells_without_zeros_cannot_be_told(panel: ad.AnnData, model: Path) -> None:
    cells = panel.copy()
    cells.X = cells.X.toarray() + 0.5
    assert row_of(cells, model)["verdict"].startswith("cannot be told: cells express too few, or all")


def test_a_folder_without_a_list_says_so(panel: ad.AnnData, model: Path, tmp_path: Path) -> None:
    old = shutil.copytree(model, tmp_path / "old")
    (old / FILE).unlink()
    row = row_of(panel, old, "old", key_added="seen")
    assert row["verdict"] == "not known: there is no list of its training cells" and row["n_cells"] == 0
    assert not panel.obs["seen"].any()
    del panel.obs["seen"], panel.uns["seen"]


def test_a_damaged_list_is_an_error_that_names_it(panel: ad.AnnData, model: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(model, tmp_path / "damaged")
    (damaged / FILE).write_bytes((damaged / FILE).read_bytes()[:-40])
    with pytest.raises(sf.models.ModelFolderError, match=r"damaged/cells\.safetensors, the list of training cells"):
        sf.models.contamination(panel, model=damaged, gene_key="FBgn")


def test_adapted_and_continued_models_know_the_cells_of_those_before(
    panel: ad.AnnData, model: Path, tmp_path: Path
) -> None:
    others = sf.datasets.fly_brain_simulated(200, seed=5)
    sf.tl.adapt(others, model=model, out=tmp_path / "adapted", gene_key="FBgn")
    pretrain(others, out=tmp_path / "further", init=tmp_path / "adapted", **SMALL | {"hidden_size": 16})
    known = Manifest.read(tmp_path / "further", sf.models.load(tmp_path / "further").vocabulary.n_genes)
    assert known is not None
    assert [each.use for each in known.sets] == ["pretraining", "adaptation", "pretraining"]
    for cells, seen in ((panel, [True, False, False]), (others, [False, True, True])):
        table = sf.models.contamination(cells, model=tmp_path / "further", gene_key="FBgn")
        assert table["verdict"].str.startswith("seen").tolist() == seen
    (tmp_path / "adapted" / FILE).unlink()
    sf.tl.adapt(others, model=tmp_path / "adapted", out=tmp_path / "again", gene_key="FBgn")
    table = sf.models.contamination(others, model=tmp_path / "again", gene_key="FBgn")
    assert table["set"].tolist() == ["adapted", "object-0"] and table["verdict"].str[:4].tolist() == ["not ", "seen"]


def test_a_classifier_that_ships_stands_behind_its_model(brain: ad.AnnData) -> None:
    table = sf.models.contamination(brain, model="fly-brain")
    assert table["model"].tolist() == ["fly"] * 8 + ["fly-brain"]
    assert table["use"].tolist() == ["pretraining"] * 8 + ["labels"]
    assert not table["verdict"].str.startswith("seen").any()


@pytest.mark.parametrize("name", [path.parent.name for path in FOLDER.glob("*/README.md")])
def test_every_readout_that_ships_has_a_list(name: str) -> None:
    manifest = Manifest.read(FOLDER / name, sf.models.load("fly").vocabulary.n_genes)
    assert manifest is not None and manifest.sets
    assert {each.use for each in manifest.sets} == {"ages" if name == "fly-brain-clock" else "labels"}


@pytest.mark.parametrize("name", ["fly", "fly-tiny"])
def test_models_that_ship_list_the_real_cells_of_their_provenance(name: str) -> None:
    opened = sf.models.load(name)
    recorded = {one["name"]: one["n_used"] for one in opened.provenance["data"] if not one["name"].startswith("scRNA")}
    assert {each.name: each.n_cells for each in Manifest.of_model(opened).sets} == recorded


@pytest.mark.parametrize("name", ["fly", "fly-tiny"])
@pytest.mark.parametrize(
    ("file", "held"), [("fly_whole/hung_midgut_1923", "S1_rep1"), ("fly_whole/larval_cns_1406", "sample_brain")]
)
def test_held_out_libraries_are_unseen(data_dir: Path, name: str, file: str, held: str) -> None:
    cells = ad.read_h5ad(data_dir / f"{file}.h5ad")
    out = (cells.obs["batch"] == held).to_numpy()
    for some, seen in ((cells[out], False), (log1p_cp10k(cells[~out]), True)):
        table = sf.models.contamination(some.copy(), model=name, gene_key="FBgn").set_index("set")
        assert table["verdict"].str.startswith("seen").sum() == seen
        assert table.loc[Path(file).name, "share"] == pytest.approx(float(seen), abs=0.001)


def test_the_genes_of_the_gut_nuclei_are_no_match(data_dir: Path) -> None:
    cells = ad.read_h5ad(data_dir / "fly" / "fca_gut_180cells.h5ad")
    for name in ("fly", "fly-atlas"):
        table = sf.models.contamination(cells, model=name, gene_key="FBgn")
        assert not table["verdict"].str.startswith("seen").any()


def test_a_classifier_is_asked_about_the_cells_that_it_labels(tmp_path: Path) -> None:
    cells = sf.datasets.fly_brain_simulated(600)
    first, rest = cells[:300].copy(), cells[300:].copy()
    sf.tl.annotate(first, label_key="cell_type", model="fly-tiny", baselines="none", save=tmp_path / "types")
    for some, low, high in ((first, 0.95, 1), (rest, 0, 0.05)):
        sf.tl.annotate(some, classifier=tmp_path / "types")
        assert low <= some.uns["annotation"]["params"]["training_seen"] <= high


@pytest.mark.parametrize("seen", [True, False])
def test_cells_of_head_are_told_by_library(data_dir: Path, seen: bool) -> None:
    cells = ad.read_h5ad(data_dir / "fly" / "fca_head.h5ad")
    part = cells.obs["batch"].astype(str).str.contains("FCA4|FCA13").to_numpy() != seen
    random = np.random.default_rng(0)
    some = cells[np.sort(random.choice(np.flatnonzero(part), 500, replace=False))].copy()
    found = sf.models.contamination(some, model="fly", gene_key="FBgn").set_index("set").loc["fca_head"]
    assert found["verdict"].startswith("seen" if seen else "not seen")
    assert found["share"] > 0.98 if seen else found["share"] < 0.02
