"""Passing proves: the commands do what the functions do, start fast, and tell errors without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from flat_options import pretrain

import scflyformer as sf
from scflyformer import _cli
from scflyformer._cli import COMMANDS, main


@pytest.fixture(autouse=True)
def _verbosity():
    before = sc.settings.verbosity
    yield
    sc.settings.verbosity = before


@pytest.fixture
def path(cells, tmp_path) -> Path:
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_is_told_and_needs_no_torch(words):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['scflyformer', *{words!r}]\n"
        "try:\n    runpy.run_module('scflyformer', run_name='__main__')\n"
        "finally:\n    print('heavy:', *{'torch', 'scanpy', 'anndata', 'matplotlib'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(Path(sf.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("usage: scflyformer")
    assert done.stdout.endswith("heavy:\n")


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"scflyformer {sf.__version__}\n"


@pytest.mark.parametrize("words", [[], ["pretrain"], ["pretrain", "a.h5ad", "--out", "m", "--epoch", "1"], ["train"]])
def test_wrong_usage(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "error: " in capsys.readouterr().err


def test_pretrain_then_embed_then_tokenize(path, tmp_path, cells):
    """A chain of commands gives what the functions give."""
    asked = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "max_len": 50, "min_cells": 2, "validation": 0.2}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]
    model, once, twice = tmp_path / "model", tmp_path / "once.h5ad", tmp_path / "twice.h5ad"
    shared = ["--verbosity", "0"]
    assert main(["pretrain", str(path), "--out", str(model), "--device", "cpu", *words, *shared]) == 0
    pretrain(path, out=tmp_path / "same", device="cpu", **asked)
    assert sf.models.load(model).sha256 == sf.models.load(tmp_path / "same").sha256
    assert main(["embed", str(path), str(once), "--model", str(model), "--key-added", "X_mine", *shared]) == 0
    assert main(["tokenize", str(once), str(twice), "--model", str(model), *shared]) == 0
    assert main(["tokenize", str(once), str(once), "--model", str(model), *shared]) == 0
    sf.tl.embed(cells, model=model)
    for file in (once, twice):
        found = ad.read_h5ad(file)
        np.testing.assert_allclose(found.obsm["X_mine"], cells.obsm["X_scflyformer"], atol=1e-5)
        assert found.obsm["tokens"].shape[0] == 60
    assert not list(tmp_path.glob("*.part"))


def test_errors_of_the_package_are_told_in_a_line(path, tmp_path, capsys):
    for words, expected in (
        (["pretrain", "gone.h5ad", "--out", str(tmp_path / "m")], "pretrain: error: There is no gone.h5ad"),
        (["pretrain", str(path), "--out", str(tmp_path / "m"), "--layer", "x"], "pretrain: error: layer: no 'x'"),
        (["embed", str(path), str(tmp_path / "o.h5ad"), "--model", "nobody"], "embed: error: "),
        (["embed", str(tmp_path / "no.h5ad"), str(tmp_path / "o.h5ad")], "embed: error: "),
        (["tokenize", str(path), str(tmp_path / "o.h5ad"), "--max-len", "0"], "tokenize: error: max_len is 0"),
    ):
        assert main(words) == 1
        told = capsys.readouterr().err
        assert expected in told
        assert "Traceback" not in told
        with pytest.raises((ValueError, KeyError, OSError)):
            main([*words, "--traceback"])
    assert [each.name for each in tmp_path.iterdir()] == ["cells.h5ad"]


def test_other_errors_keep_their_traceback(path, tmp_path, monkeypatch):
    """They are bugs, of this package or another."""

    def broken(*_, **__):
        raise ValueError("shapes do not match")

    monkeypatch.setattr(_cli, "_function", lambda name: broken)
    monkeypatch.setattr(_cli, "_fill", lambda parser, name: parser.set_defaults(verbosity=1, traceback=False))
    with pytest.raises(ValueError, match="shapes do not match"):
        main(["pretrain"])


def test_labels_and_ages_by_what_ships(tmp_path):
    """A file without labels and ages goes in; both come out."""
    import scflyformer as sf

    cells = sf.datasets.fly_brain_simulated(40)
    del cells.obs["age"]
    file, labelled, dated = (tmp_path / name for name in ("cells.h5ad", "labelled.h5ad", "dated.h5ad"))
    cells.write_h5ad(file)
    assert main(["annotate", str(file), str(labelled), "--precision", "0.9"]) == 0
    assert main(["age_clock", str(labelled), str(dated)]) == 0
    found = ad.read_h5ad(dated)
    assert found.uns["annotation"]["params"]["precision"] == 0.9
    assert found.obs["annotation_fbbt"].notna().all() and found.obs["age_clock"].notna().mean() > 0.7
