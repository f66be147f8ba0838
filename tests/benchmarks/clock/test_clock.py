"""The clock's benchmark scores what was held out, keeps what it computed, and reads files of other atlases."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.metrics import r2_score

LIBRARIES, CELLS = 16, 18


@pytest.fixture
def flies():
    """Sixteen libraries of two strains; ages show in expression, libraries show in both blocks, types do not matter."""
    from benchmarks.clock.__main__ import Flies
    from scflyformer.clock._units import Cells

    random = np.random.default_rng(0)
    library = np.repeat(np.arange(LIBRARIES), CELLS)
    ages = np.array([0.0, 3, 10, 30] * 4)[library]
    noise = random.normal(size=(LIBRARIES, 6))[library]
    x = 0.3 * random.normal(size=(len(ages), 6)) + noise * [0.1, 0.1, 3, 3, 3, 3]
    x[:, :2] += np.log2(ages + 1)[:, None]
    blocks = {"embedding": x[:, 1:].astype(np.float32), "expression": x, "depth": random.normal(size=(len(ages), 2))}
    names = np.array([f"cell{number}" for number in range(len(ages))], dtype=object)
    cells = Cells(names, ages, np.array([f"lib{number}" for number in library]), blocks)
    strains = np.where(library < 8, "w1118", "DGRP-551")
    return Flies(cells, np.where(np.arange(len(ages)) % 2, "A", "B"), strains, "key")


def test_tasks_cover_types_strains_and_splits(flies, monkeypatch):
    from benchmarks.clock import __main__ as clock

    monkeypatch.setattr(clock, "MIN_CELLS", 100)
    monkeypatch.setattr(clock, "N_REPEATS", 2)
    made = dict(clock.tasks(flies))
    assert {"libraries, all", "libraries, A", "w1118 → DGRP-551, B", "by cell, all"} <= set(made)
    found = made["libraries, all"]()
    views = found["libraries, all"]
    assert set(views) == {"embedding", "expression", clock.MAIN, "depth", "mean"}
    assert set(found["published recipe, all"]) == {"article"}
    assert views["expression"]["metrics"]["R²"][0] > 0.9 > 0.1 > views["mean"]["metrics"]["R²"][0]
    assert views["expression"]["n_libraries"] == LIBRARIES and views["expression"]["repeats"] == 2
    assert 0.5 < views["expression"]["coverage"] <= 1
    across = made["w1118 → DGRP-551, all"]()["w1118 → DGRP-551, all"]
    assert across["expression"]["n_test"] == len(flies.groups) / 2
    assert across["expression"]["metrics"]["Spearman"][0] > 0.9
    results = [(row, column, view) for row, one in found.items() for column, view in one.items()]
    assert clock.summary(results) == ""  # no types among them


def test_scores_are_those_of_the_predictions(flies):
    from benchmarks.clock.__main__ import view

    predicted = flies.cells.ages + 1.0
    predicted[:10] = np.nan
    scores = view(flies.cells, flies.cells.samples, predicted, n_train=1, note="")["metrics"]
    y, p = np.log2(flies.cells.ages[10:] + 1), np.log2(predicted[10:] + 1)
    assert scores["R²"][0] == pytest.approx(r2_score(y, p), abs=1e-5)
    assert scores["MAE"][0] == pytest.approx(1)
    assert len(scores["R²"]) == 1 + LIBRARIES


def test_ages_dealt_anew_are_told_by_cell_and_not_by_library(flies, monkeypatch):
    from benchmarks.clock import __main__ as clock

    monkeypatch.setattr(clock, "N_REPEATS", 2)
    scores = {name: make()[name]["expression"]["metrics"]["R²"][0] for name, make in clock.null(flies)}
    assert len(scores) == 4
    assert max(value for name, value in scores.items() if name.endswith("libraries")) <= 0.1
    assert min(value for name, value in scores.items() if name.endswith("by cell")) > 0.2


def test_another_atlas(tmp_path, monkeypatch, capsys):
    """A file of log-normalised values with columns of its own, as the Aging Fly Cell Atlas has them."""
    import scanpy as sc

    import scflyformer as sf
    from benchmarks.clock import __main__ as clock

    cells = sf.datasets.fly_brain_simulated(400)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    cells.obs = cells.obs.rename(columns={"age": "days", "cell_type": "afca_annotation", "batch": "run"})
    cells.write_h5ad(tmp_path / "afca.h5ad")
    monkeypatch.setattr(clock, "N_REPEATS", 1)
    asked = ["clock.py", "--file", str(tmp_path / "afca.h5ad"), "--age-key", "days", "--group-key", "afca_annotation"]
    asked += ["--sample-key", "run", "--gene-key", "", "--model", "fly-tiny", "--work", str(tmp_path / "work")]
    asked += ["--tasks", "libraries, all", "--without-random", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", asked)
    clock.main()
    text = (tmp_path / "out.md").read_text()
    assert "| libraries, all | R² | 400 cells" in text and "w1118 →" not in text
    assert (tmp_path / "out.tsv").exists() and "libraries, all, pseudocells" in capsys.readouterr().out
