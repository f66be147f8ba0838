"""Methods label in processes of their own, what they say is kept, and tables tell who is above whom."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def said(monkeypatch):
    """Make every method say the truth, but for some of its cells; count the calls."""
    from benchmarks.annotation import methods

    calls = []

    def run(task, split, method, model, file, work, threads):
        calls.append((split.name, method.name))
        names = np.unique(task.labels[split.reference])
        truth = np.searchsorted(names, task.labels[split.query]) % len(names)
        wrong = np.arange(len(truth)) % {"kNN": 4, "majority": 2}[method.name] == 0
        guess = np.where(wrong, (truth + 1) % len(names), truth)
        probability = np.full((len(truth), len(names)), 0.1 / (len(names) - 1))
        probability[np.arange(len(truth)), guess] = 0.9
        costs = {"seconds": 1.5, "cpu_seconds": 1.0, "memory_mb": 7, "peak_mb": 9}
        file.parent.mkdir(parents=True, exist_ok=True)
        strange = ~np.isin(task.labels[split.query], names)
        novelty = {"novelty": strange + 0.0} if method.name == "kNN" else {}
        np.savez(file, probability=probability, classes=names, said=json.dumps(costs), **novelty)

    monkeypatch.setattr(methods, "_run", run)
    return calls


def test_compare_tells_and_keeps(folder, tmp_path, said):
    from benchmarks.annotation.__main__ import compare, cost_table, rows, write_details
    from benchmarks.annotation.methods import methods
    from benchmarks.annotation.tasks import Tasks
    from benchmarks.lib.report import long_table, report, verdicts

    columns = methods(["knn", "majority"], [])
    tasks = ["davie by strain", "davie by strain, 10 % of labels"]
    results = compare(Tasks(folder), tasks, columns, tmp_path / "work", n_boot=30)
    assert len(said) == 4
    assert compare(Tasks(folder), tasks, columns, tmp_path / "work", n_boot=30) == results
    assert len(said) == 4, "what was said is kept"
    compare(Tasks(folder), tasks[:1], columns, tmp_path / "work", n_boot=31)
    assert len(said) == 4, "other resamples need no new labels"

    table = long_table(rows(results), "kNN")
    value = table.set_index(["task", "metric", "column"])["value"]
    assert value["davie by strain", "accuracy", "kNN"] == pytest.approx(0.75)
    assert value["davie by strain", "ECE", "kNN"] == pytest.approx(0.15, abs=1e-6)
    assert value["davie by strain", "ECE", "majority"] == pytest.approx(0.4, abs=1e-6)
    assert value["davie by strain", "coverage at 95 % precision", "kNN"] == 0
    (line,) = [line for line in verdicts(table, "kNN") if line.startswith("davie by strain, ECE")]
    assert "better than majority (-0.250" in line
    assert (table["resampled"] == "libraries").all()

    report(rows(results), "kNN", "T", tmp_path / "t", columns="method", more=cost_table(results))
    write_details(results, tmp_path / "t")
    assert "| davie by strain | 2 s, 7 MB | 2 s, 7 MB |" in (tmp_path / "t.md").read_text()
    types = pd.read_csv(tmp_path / "t-per-class.tsv", sep="\t").set_index(["task", "method", "type"])
    assert types.loc[("davie by strain", "majority", "A"), "n_cells"] == 48
    assert types["recall"].between(0, 1).all() and len(pd.read_csv(tmp_path / "t-costs.tsv", sep="\t")) == 4


def test_hidden_types(folder, tmp_path, said, monkeypatch):
    from benchmarks.annotation import hidden_types as hidden
    from benchmarks.annotation.__main__ import compare, draw_table
    from benchmarks.annotation.methods import methods
    from benchmarks.annotation.tasks import Tasks

    for name in ("MIN_QUERY", "MIN_REFERENCE"):
        monkeypatch.setattr(hidden, name, 8)
    monkeypatch.setattr(hidden, "N_HIDDEN", 1)
    tasks = Tasks(folder)
    task, names = hidden.without_types(tasks.by_library("davie"), n_draws=2)
    for split, types in zip(task.splits, names, strict=True):
        assert not np.isin(types, task.labels[split.reference]).any()
        assert np.isin(types, task.labels[split.query]).all()

    def two_kept(task):
        labels = np.where(task.labels == "A", np.where(np.arange(len(task.labels)) % 8 == 0, "C", "A"), task.labels)
        return hidden.without_types(hidden.replace(task, labels=labels), n_draws=2)

    from benchmarks.annotation import __main__ as annotation

    monkeypatch.setattr(annotation, "without_types", two_kept)
    columns = methods(["knn", "majority"], [])
    results = compare(tasks, ["davie by strain"], columns, tmp_path, n_boot=20, hidden=True)
    metrics = {method: result["views"][""]["metrics"] for _, method, result in results}
    assert metrics["kNN"]["AUROC, hidden types"][0] == 1
    assert metrics["majority"]["AUROC, hidden types"] == metrics["majority"]["AUROC, 1 − probability"]
    assert 0.5 < metrics["kNN"]["accuracy, known types"][0] < 1
    assert "AUROC 1.000 to 1.000 over 2 draws" in draw_table(results)


def test_an_environment_that_is_not_there(folder, tmp_path):
    from benchmarks.annotation.methods import labelled, methods
    from benchmarks.annotation.tasks import Tasks

    task = Tasks(folder).by_library("davie")
    (method,) = methods(["scanvi"], [])
    with pytest.raises(FileNotFoundError, match="--scvi-python"):
        labelled(task, task.splits[0], method, tmp_path)


def test_a_process_labels(folder, tmp_path):
    from benchmarks.annotation.methods import labelled, methods
    from benchmarks.annotation.tasks import Tasks

    task = Tasks(folder).by_library("davie")
    (method,) = methods(["l1"], [])
    assert method.python == sys.executable
    found = labelled(task, task.splits[0], method, tmp_path)
    assert (task.classes[found.codes(task.classes)] == task.labels[task.query]).mean() > 0.9
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-6)
    assert found.novelty is None and found.said["seconds"] > 0 and found.said["peak_mb"] > 0


def test_baselines(folder, tmp_path):
    from benchmarks.annotation.package_labels import tuned
    from benchmarks.annotation.tasks import Tasks
    from benchmarks.lib.exchange import read_cells, write_cells

    task = Tasks(folder).by_library("davie")
    (split,) = task.splits
    path = tmp_path / "cells.h5ad"
    given = (task.counts, task.genes, task.labels, task.libraries, split.reference, split.query)
    write_cells(path, *given, by_cell=False)
    cells = read_cells(path)
    assert "label" not in cells.query.obs and cells.reference.n_obs == len(split.reference)
    truth = task.labels[split.query]
    for name, least in {"l1": 0.9, "knn": 0.6, "majority": 0.3}.items():
        found = tuned(cells, name)
        assert (found["classes"][found["probability"].argmax(axis=1)] == truth).mean() >= least, name


def test_the_package_and_a_random_network(many_cells, tmp_path, tiny_model):
    from benchmarks.annotation.package_labels import annotated, tuned
    from benchmarks.lib.exchange import read_cells, write_cells

    libraries = many_cells.obs["batch"].to_numpy(dtype=str)
    held = np.isin(libraries, np.unique(libraries)[:1])
    labels = many_cells.obs["cell_type"].to_numpy(dtype=str)
    genes = many_cells.var["FBgn"].to_numpy(dtype=str)
    path = tmp_path / "cells.h5ad"
    for by_cell in (False, True):
        write_cells(path, many_cells.X.tocsr(), genes, labels, libraries, np.flatnonzero(~held), np.flatnonzero(held),
                    by_cell=by_cell)  # fmt: skip
        mine = annotated(read_cells(path), "probe", str(tiny_model))
        other = tuned(read_cells(path), "embedding", str(tiny_model))
        assert list(mine["classes"]) == list(other["classes"])
        np.testing.assert_allclose(mine["probability"], other["probability"], atol=1e-3)
        assert "novelty" not in mine or len(mine["novelty"]) == held.sum()
