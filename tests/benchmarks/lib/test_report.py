"""Tables say what is below what."""

from __future__ import annotations

import numpy as np
import pandas as pd


def _view(values):
    return {"metrics": values, "n_train": 1, "n_test": 2, "n_libraries": 2, "resampled": "libraries", "split": "s"}


def test_losses_are_told_plainly():
    from benchmarks.lib.report import long_table, verdicts

    draws = np.linspace(-0.01, 0.01, 21)
    results = [
        ("t", "fly", _view({"accuracy": [0.8, *(0.8 + draws)], "nats a gene": [3.0, *(3 + draws)]})),
        ("t", "pca", _view({"accuracy": [0.9, *(0.9 - draws)], "nats a gene": [4.0, *(4 + draws)]})),
        ("t", "same", _view({"accuracy": [0.8, *(0.8 - draws)]})),
    ]
    first, second = verdicts(long_table(results, "fly"), "fly")
    assert "BELOW pca (-0.100" in first and "not told from same" in first
    assert "better than pca (-1.000" in second


def test_tables_of_another_benchmark(tmp_path, capsys):
    from benchmarks.lib.report import report

    draws = np.linspace(-0.01, 0.01, 21)
    results = [(task, name, _view({"accuracy": [0.8, *(0.8 + draws)]})) for task in "ab" for name in ("fly", "plain")]
    report(results, "fly", "Methods", tmp_path / "new" / "table", columns="method")
    text = (tmp_path / "new" / "table.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "# Methods" in text and "| task | split | training cells | resampled |" in text
    table = pd.read_csv(tmp_path / "new" / "table.tsv", sep="\t")
    assert list(table.columns[:4]) == ["task", "metric", "method", "value"] and len(table) == 4
