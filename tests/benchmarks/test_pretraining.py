"""A comparison computes what is missing and reads the rest."""

from __future__ import annotations


def test_compare_keeps_results(folder, tmp_path, monkeypatch):
    import _probing
    from _bench import Bench
    from _report import long_table, markdown, verdicts
    from _representations import Expression, Joined, Pca
    from pretraining import compare

    expression, pca = Expression(tmp_path), Pca(tmp_path, 3)
    columns = [expression, pca, Joined(pca, expression)]
    tasks = ["davie labels", "davie neighbours", "clock w1118 → DGRP-551"]
    results = compare(Bench(folder), columns, tasks, tmp_path, n_boot=30)
    monkeypatch.setattr(_probing, "run", None)
    assert compare(Bench(folder), columns, tasks, tmp_path, n_boot=30) == results
    table = long_table(results, "expression")
    value = table.set_index(["task", "metric", "column"])["value"]
    assert value["davie labels", "accuracy", "expression"] > 0.8
    assert value["clock w1118 → DGRP-551, with 50 days", "Spearman", "expression"] > 0.3
    text = markdown(table, "expression")
    assert "PCA-3 + expression" in text and "6 libraries" in text and "libraries" in table["resampled"].unique()
    assert len(verdicts(table, "expression")) == 7
