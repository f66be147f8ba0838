"""Passing proves: pretraining and annotation work for a species that no line of the code knows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from flat_options import pretrain

import scflyformer as sf

TINY: dict[str, Any] = {
    "hidden_size": 48, "n_layers": 1, "n_heads": 2, "warmup_steps": 10, "eval_steps": 10_000, "save_steps": 10_000,
    "learning_rate": 1e-2, "device": "cpu",
}  # fmt: skip
ABOUT_FLY_IDS = (
    "genes/_flybase_names.py", "genes/_resolve.py", "genes/_synonyms.py", "datasets/_fly_brain_simulated.py",
    "datasets/_flybase_clusters.py", "datasets/_olfactory_neurons.py", "datasets/_atlas.py", "data/_atlas.py",
    "training/_recipes.py", "training/_sources.py",
)  # fmt: skip


def annotated(cells: ad.AnnData, held: np.ndarray, model: Path, **keys: Any) -> pd.DataFrame:
    """Label held-out cells by the others; return accuracy and macro-F1 of the model and of the commonest label."""
    from sklearn.metrics import accuracy_score, f1_score

    reference, rest = cells[~held].copy(), cells[held].copy()
    with sf.settings.override(device="cpu"):
        sf.tl.annotate(rest, reference=reference, model=model, baselines="none", **keys)
    truth = rest.obs[keys["label_key"]].to_numpy(dtype=str)
    commonest = reference.obs[keys["label_key"]].mode()[0]
    told = {
        "model": rest.obs["annotation_best"].to_numpy(dtype=str),
        "majority": np.full(len(truth), commonest),
    }
    return pd.DataFrame(
        {
            name: {
                "accuracy": accuracy_score(truth, labels),
                "macro_f1": f1_score(truth, labels, average="macro", zero_division=0),
            }
            for name, labels in told.items()
        }
    )


@pytest.fixture
def mouse() -> ad.AnnData:
    """Six samples of four cell types, each with genes of its own, and a gene expression of its own for each sample."""
    random = np.random.default_rng(0)
    n_genes, kind, sample = 90, np.arange(240) % 4, (np.arange(240) // 4) % 6
    rate = random.gamma(1, 0.7, n_genes) * random.lognormal(0, 0.3, (6, n_genes))[sample]
    for each in range(4):
        rate[np.ix_(kind == each, np.arange(12 * each, 12 * each + 12))] *= 8
    obs = pd.DataFrame(
        {"tissue_type": [f"type {n}" for n in kind], "mouse": [f"m{n}" for n in sample]},
        index=[f"cell{n}" for n in range(240)],
    )
    var = pd.DataFrame(
        {"gene_symbol": [f"Gm{n}" for n in range(n_genes)]}, index=[f"ENSMUSG{n:011d}" for n in range(n_genes)]
    )
    return ad.AnnData(sp.csr_matrix(random.poisson(rate).astype(np.float32)), obs=obs, var=var)


def test_mouse_cells(mouse, tmp_path):
    """Pretrained without two samples and without labels, it labels these two."""
    held = mouse.obs["mouse"].isin(["m4", "m5"]).to_numpy()
    out = tmp_path / "mouse"
    pretrain(
        mouse, out=out, exclude={"mouse": ["m4", "m5"]}, sample_key="mouse", validation=["m3"], max_len=80,
        batch_tokens=400, epochs=6, code_size=16, code_epochs=4, **TINY,
    )  # fmt: skip
    model = sf.models.load(out)
    assert model.vocabulary.gene_ids[0] == "ENSMUSG00000000000"
    assert model.vocabulary.symbols[0] == "Gm0"
    assert model.metrics["held_out"]["mlm"] < np.log(model.vocabulary.n_genes)
    scores = annotated(mouse, held, out, label_key="tissue_type", sample_key="mouse")
    assert scores.loc["accuracy", "model"] > 0.8
    assert scores.loc["macro_f1", "model"] > scores.loc["macro_f1", "majority"] + 0.6


def test_mouse_cells_and_a_fly_model(mouse, tiny_model):
    """The species is told from the ids."""
    with pytest.raises(ValueError, match="These ids are mouse.*train one with tl.pretrain"):
        sf.tl.embed(mouse, model=tiny_model)


@pytest.mark.slow
def test_human_pancreas(data_dir, tmp_path):
    """Two donors label the two others."""
    path = data_dir / "human" / "baron_pancreas_human_2142.h5ad"
    if not path.exists():
        pytest.skip(f"no human data at {path}")
    out, others = tmp_path / "pancreas", ["human2", "human4"]
    pretrain(
        path, out=out, exclude={"donor": others}, validation=0.1, min_cells=300, max_len=64, batch_tokens=1024,
        epochs=2, code_size=64, code_epochs=5, **TINY,
    )  # fmt: skip
    cells = ad.read_h5ad(path)
    held = cells.obs["donor"].isin(others).to_numpy()
    scores = annotated(cells, held, out, label_key="cell_type", sample_key="donor")
    assert scores.loc["accuracy", "model"] > scores.loc["accuracy", "majority"] + 0.4
    assert scores.loc["macro_f1", "model"] > scores.loc["macro_f1", "majority"] + 0.4


def some(path: Path, n_cells: int) -> ad.AnnData:
    """Read a few cells of a large file."""
    whole = ad.read_h5ad(path, backed="r")
    picked = np.sort(np.random.default_rng(0).choice(whole.n_obs, n_cells, replace=False))
    cells = whole[picked].to_memory()
    whole.file.close()
    return cells


@pytest.mark.slow
def test_a_platform_left_out(data_dir, tmp_path):
    """A model of nuclei reads whole cells measured over other genes: the overlap is reported and types are told."""
    nuclei = [some(data_dir / "fly" / f"{name}.h5ad", 700) for name in ("fca_head", "fca_body")]
    cells = some(data_dir / "fly" / "davie_brain_aging.h5ad", 900)
    out = tmp_path / "nuclei"
    pretrain(
        nuclei, out=out, gene_key="FBgn", validation=0.1, max_len=64, batch_tokens=1024, epochs=1, code_size=64,
        code_epochs=5, **TINY,
    )  # fmt: skip
    known = sf.models.load(out).vocabulary.gene_ids
    shared = np.isin(known, cells.var["FBgn"])
    assert 0.3 < shared.mean() < 0.9
    with sf.settings.override(device="cpu"):
        sf.tl.embed(cells, model=out, gene_key="FBgn")
    assert cells.uns["X_scflyformer"]["coverage"]["share_vocabulary"] == pytest.approx(shared.mean(), abs=1e-5)
    named = cells[~cells.obs["cell_type"].astype(str).str.isdigit()].copy()
    held = named.obs["genotype"].astype(str).str.startswith("DGRP").to_numpy()
    scores = annotated(named, held, out, label_key="cell_type", sample_key="batch", gene_key="FBgn")
    assert (scores["model"] > scores["majority"] + 0.2).all()


def test_nothing_else_knows_how_a_fly_gene_begins():
    """Text in the code, docstrings and comments apart."""
    package = Path(sf.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if path.relative_to(package).as_posix() in ABOUT_FLY_IDS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                assert "FBgn" not in node.value, f"{path}:{node.lineno}"
