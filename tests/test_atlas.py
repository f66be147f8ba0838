"""A file of the atlas's shape goes all the way: read, pretrained by the recipe, embedded, labelled, dated."""

from __future__ import annotations

import numpy as np
import pytest

import scflyformer as sf
from scflyformer._cli import main

N_CELLS, N_GENES = 2000, 15_992
CUT = "--code-epochs 1 --epochs 0.02 --batch-tokens 4096 --code-size 16 --n-directions 32"
"""The recipe's model with a small profile code, and a few steps: of no use, but made by the same code."""


@pytest.mark.slow
def test_from_file_to_ages(tmp_path):
    from benchmarks.atlas.make import make_atlas

    file = tmp_path / "adata_headBody_S_v1.0.h5ad"
    # no real data there, so that this is the same everywhere; few genes a cell, so that it is quick
    make_atlas(file, data=tmp_path, n_cells=N_CELLS, n_genes=N_GENES, per_cell=200, published=True)
    atlas = sf.datasets.afca(file, backed="r")
    assert atlas.isbacked and atlas.shape == (N_CELLS, N_GENES)
    totals = np.expm1(atlas.X[:50].toarray().astype(float)).sum(axis=1)
    np.testing.assert_allclose(totals, 1e4, rtol=1e-4, err_msg="log1p of counts per 10,000")

    out = tmp_path / "model"
    words = ["pretrain", "--recipe", "afca", str(file), "--out", str(out), "--verbosity", "1", "--device", "cpu"]
    assert main([*words, *CUT.split()]) == 0
    model = sf.models.load(out)
    assert model.metrics["held_out"]["split_unit"] == "sample" and model.provenance["settings"]["recipe"] == "afca"
    held_out = {name.partition(":")[2] for name in model.metrics["held_out"]["samples"]}
    assert held_out < set(atlas.obs["batch"])
    options = model.provenance["options"]
    assert (options["hidden_size"], options["n_heads"], options["learning_rate"]) == (192, 3, 1.2e-3)
    assert (options["epochs"], options["code_size"]) == (0.02, 16)
    assert model.vocabulary.n_genes > 5000 and np.char.startswith(model.vocabulary.gene_ids, "FBgn").mean() > 0.9

    sf.tl.embed(atlas, model=out)
    assert np.isfinite(atlas.obsm["X_scflyformer"]).all() and atlas.obsm["X_scflyformer"].std() > 0
    cells = atlas[:800].to_memory()
    labels = cells.obs["cell_type"].astype(str).str.removeprefix("type ").astype(int) % 3
    cells.obs["cell_type"] = labels.map({0: "a", 1: "b", 2: "c"}).astype("category")
    sf.tl.annotate(cells, label_key="cell_type", sample_key="batch", baselines="none")
    sf.tl.age_clock(cells, age_key="age", sample_key="batch", baselines="none")
    assert cells.obs["annotation_best"].notna().all() and cells.obs["age_clock"].notna().all()
    assert cells.obs["age_clock"].between(-50, 200).all()
    cells.write_h5ad(tmp_path / "done.h5ad")
