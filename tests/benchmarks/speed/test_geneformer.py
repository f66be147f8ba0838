"""The part beside Geneformer drives a checkout in a process of its own; here a stand-in with its call signatures."""

from __future__ import annotations

import pickle
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

STAND_IN = Path(__file__).parents[2] / "support" / "geneformer_stand_in.py"


@pytest.fixture
def checkout(tmp_path):
    """A folder with a package geneformer that is the stand-in."""
    package = tmp_path / "checkout" / "geneformer"
    package.mkdir(parents=True)
    shutil.copy(STAND_IN, package / "__init__.py")
    return package.parent


@pytest.fixture
def beside(settings, checkout):
    """Settings that name the checkout; its process ends with the test."""
    from benchmarks.speed.geneformer_part import close
    from benchmarks.speed.geneformer_process import Checkout

    yield replace(settings, geneformer=Checkout(checkout))
    close()


def run(part):
    part.setup()
    part.tune()
    for side in part.sides():
        part.call(side)
    return part


def change(checkout, old, new):
    """Change the stand-in."""
    path = checkout / "geneformer" / "__init__.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def command(simulated, model_folder, checkout, monkeypatch):
    """Run the command on a few cells."""

    def call(*more, path=checkout):
        from benchmarks.speed import __main__ as speed

        asked = ["speed", "geneformer", "--geneformer", str(path), "--quick", "--cells", "12", "--repeats", "1"]
        asked += ["--threads", str(torch.get_num_threads()), "--data", str(simulated), "--model", str(model_folder)]
        monkeypatch.setattr(sys, "argv", [*asked, *map(str, more)])
        speed.main()

    return call


@pytest.mark.slow
def test_both_embed_the_same(beside):
    """The stand-in gives cells sorted by length; they come back in the order of the file."""
    from benchmarks.speed.geneformer import Embed
    from benchmarks.speed.geneformer_part import BATCHES

    part = run(Embed(beside))
    ours, theirs = part.found["ours"], part.found["reference"]
    assert np.abs(ours - theirs).max() < 1e-5 < 1e-2 < np.abs(theirs - theirs[0]).max()
    assert part.units == 30 and set(part.tried) == set(BATCHES) and part.tried[part.batch] == max(part.tried.values())
    assert part.rate(99.0) == 30 / part.seconds and "reference" in part.peaks, "as its process measured"
    part.call("ours")
    assert part.rate(2.0) == 15
    assert "the same network: 3 layers × 24, at most 160 genes" in part.note(part.lines[0])


@pytest.mark.slow
def test_both_delete_the_same(beside):
    from benchmarks.speed.geneformer import Delete

    part = run(Delete(beside))
    assert part.theirs == part.units == part.rows.lengths.sum() and len(part.rows) == 2
    tokens, shifts = part.rows.tokens, part.by_its_rule()
    means = [shifts[tokens == token].mean() for token in np.unique(tokens)]
    theirs = [part.found["reference"][token] for token in np.unique(tokens).tolist()]
    assert np.abs(np.array(means) - theirs).max() < 1e-6 < 1e-4 < np.ptp(means)
    assert "by its rule, Spearman 1.000 over" in part.note(part.lines[0])
    assert set(part.found["reference"]) == set(tokens.tolist())
    assert np.isfinite(part.found["ours"]).all() and len(part.found["ours"]) == part.units


@pytest.mark.slow
def test_a_larger_network_can_be_named(beside, tmp_path):
    """Its own length and width hold, and nothing is compared but speed."""
    from transformers import BertConfig, BertForMaskedLM

    from benchmarks.speed.geneformer import Delete, Embed

    config = BertConfig(
        vocab_size=2500, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=200,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        BertForMaskedLM(config).save_pretrained(tmp_path / "large")
    beside = replace(beside, geneformer=replace(beside.geneformer, model=tmp_path / "large"))
    part = run(Embed(beside))
    assert part.found["reference"].shape == (30, 16)
    said = part.note(part.lines[0])
    assert "another network: 2 layers × 16, at most 200 genes" in said and "difference" not in said
    part = run(Delete(beside))
    assert part.theirs > part.units, "cells are longer than the fly model reads"
    assert part.rate(1.0) == part.theirs / part.seconds and "Spearman" not in part.note(part.lines[0])


@pytest.mark.slow
def test_a_run_prints_three_lines(command, tmp_path, capsys):
    command("--out", tmp_path / "out")
    text = capsys.readouterr().out
    for case in ("tokens | cells/s", "embedding | cells/s", "deletion of all genes | perturbations/s"):
        assert f"| geneformer | {case} | " in text
    table = pd.read_csv(tmp_path / "out" / "speed.tsv", sep="\t")
    assert len(table) == 3 and table[["memory_mb", "reference_memory_mb", "ratio"]].notna().all().all()


@pytest.mark.slow
def test_a_failing_function_costs_its_line_alone(command, checkout, capsys):
    change(checkout, "emb_label=None, ", "")
    command()
    text = capsys.readouterr().out
    assert "| geneformer | tokens |" in text and "| geneformer | deletion of all genes |" in text
    said = "Not measured: embed beside Geneformer.*TypeError: .*emb_label.*written for copies from mid-2025 on"
    assert re.search(said, text) and "| geneformer | embedding |" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("raise KeyError('no gene')", "embed failed: KeyError: 'no gene'(.|\n)*Traceback"),
        ("cells = cells[1:]", "It embedded 29 cells; expected the 30"),
        ("import os; os._exit(3)", "its process has ended"),
    ],
)
def test_errors_say_what_happened(beside, checkout, added, said):
    from benchmarks.speed.geneformer import Embed
    from benchmarks.speed.geneformer_process import GeneformerError

    change(checkout, "        found = pd", f"        {added}\n        found = pd")
    part = Embed(beside)
    part.setup()
    with pytest.raises(GeneformerError, match=said):
        part.call("reference")


@pytest.mark.slow
def test_what_cannot_be_imported_is_said(command, checkout):
    change(checkout, "import json\n", "import a_package_that_is_not_there\n")
    with pytest.raises(SystemExit, match="No module named 'a_package_that_is_not_there'.*--geneformer-python"):
        command()


def test_what_is_no_checkout_is_refused(command, checkout, tmp_path):
    with pytest.raises(SystemExit, match=r"holds no geneformer/__init__.py.*git clone"):
        command(path=tmp_path)
    with pytest.raises(SystemExit, match=r"holds no config.json.*--geneformer-model"):
        command("--geneformer-model", tmp_path)
    with pytest.raises(SystemExit, match="python-of-nowhere does not start.*--geneformer-python"):
        command("--geneformer-python", tmp_path / "python-of-nowhere")


def test_a_checkout_must_be_named(monkeypatch, capsys):
    from benchmarks.speed import __main__ as speed

    monkeypatch.setattr(sys, "argv", ["speed", "geneformer"])
    with pytest.raises(SystemExit):
        speed.main()
    assert "name it by --geneformer PATH" in capsys.readouterr().err


def test_files_are_in_its_formats(model_folder, simulated, tmp_path):
    import scflyformer as sf
    from benchmarks.speed.geneformer_files import Size, write_cells, write_dictionaries
    from benchmarks.speed.geneformer_process import GeneformerError

    vocabulary = sf.models.load(model_folder).vocabulary
    paths = write_dictionaries(tmp_path, vocabulary)
    tokens, medians, mapping = (
        pickle.loads(Path(paths[kind]).read_bytes()) for kind in ("tokens", "medians", "mapping")
    )
    name = vocabulary.gene_ids[5].upper()
    assert name.startswith("FBGN") and tokens[name] == 8 and medians[name] == vocabulary.medians[5]
    assert tokens["<pad>"] == 0 and mapping[name] == name and len(tokens) == vocabulary.n_genes + 2
    adata = ad.read_h5ad(simulated / "fly" / "davie_brain_aging.h5ad")
    written = ad.read_h5ad(write_cells(tmp_path, adata))
    assert (written.X != adata.X).nnz == 0 and list(written.obs["cell"]) == list(adata.obs_names)
    np.testing.assert_allclose(written.obs["n_counts"], np.asarray(adata.X.sum(axis=1)).ravel())
    assert list(written.var["ensembl_id"]) == [each.upper() for each in adata.var["FBgn"]]
    (tmp_path / "config.json").write_text(
        '{"vocab_size": 9, "max_position_embeddings": 8, "hidden_size": 4, "num_hidden_layers": 2}'
    )
    with pytest.raises(GeneformerError, match="has 9 tokens"):
        Size.of(tmp_path, vocabulary)
