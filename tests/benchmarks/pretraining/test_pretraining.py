"""A comparison computes what is missing and reads the rest."""

from __future__ import annotations


def test_results_are_kept(folder, tmp_path, monkeypatch):
    from benchmarks.lib.report import long_table, markdown, verdicts
    from benchmarks.lib.representations import Expression, Joined, Pca
    from benchmarks.pretraining import probing
    from benchmarks.pretraining.tasks import Bench

    expression, pca = Expression(tmp_path), Pca(tmp_path, 3)
    columns = [expression, pca, Joined(pca, expression)]

    def compare():
        makers, names = Bench(folder).makers, ("davie labels", "davie neighbours", "clock w1118 → DGRP-551")
        return [row for name in names for row in probing.probed(makers[name](), columns, tmp_path)]

    results = compare()
    monkeypatch.setattr(probing, "run", lambda *_, **__: 1 / 0)
    assert compare() == results
    table = long_table(results, "expression")
    value = table.set_index(["task", "metric", "column"])["value"]
    assert value["davie labels", "accuracy", "expression"] > 0.7
    assert value["clock w1118 → DGRP-551, with 50 days", "Spearman", "expression"] > 0.3
    text = markdown(table, "expression")
    assert "PCA-3 + expression" in text and "6 libraries" in text and "libraries" in table["resampled"].unique()
    assert len(verdicts(table, "expression")) == 7
