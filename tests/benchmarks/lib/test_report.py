"""Tables say what is below what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scflyformer.stats._intervals import t_interval


def _view(values, resampled="cells", n_libraries=2):
    view = {"metrics": values, "n_train": 1, "n_test": 2, "n_libraries": n_libraries, "resampled": resampled}
    return view | {"split": "s"}


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


def test_libraries_tell_by_the_gain_in_each():
    """From three on by a t interval; two are listed, however clear they are."""
    from benchmarks.lib.report import long_table, markdown, verdicts

    def rows(n):
        main = [0.7, 0.9, 0.8][:n]
        other = [value - gain for value, gain in zip(main, (0.1, 0.104, 0.108), strict=False)]
        views = {"fly": [0.9, *main], "pca": [0.8, *other]}
        return [("t", name, _view({"accuracy": values}, "libraries", n)) for name, values in views.items()]

    table = long_table(rows(2), "fly")
    said = "(+0.102, each +0.100, +0.104)"
    assert verdicts(table, "fly") == [f"t, accuracy: fly is not told from pca {said} (2 libraries cannot tell)"]
    assert "+0.102 (each +0.100, +0.104)" in markdown(table, "fly")
    table = long_table(rows(3), "fly")
    assert verdicts(table, "fly")[0].startswith("t, accuracy: fly is above pca (+0.104, +0.0")
    row = table[table["column"] == "pca"].iloc[0]
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(t_interval(np.array([0.1, 0.104, 0.108])))


def test_tables_of_another_benchmark(tmp_path, capsys):
    from benchmarks.lib.report import report

    draws = np.linspace(-0.01, 0.01, 21)
    results = [(task, name, _view({"accuracy": [0.8, *(0.8 + draws)]})) for task in "ab" for name in ("fly", "plain")]
    report(results, "fly", "Methods", tmp_path / "new" / "table", columns="method")
    text = (tmp_path / "new" / "table.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert "# Methods" in text and "| task | split | training cells | intervals over |" in text
    table = pd.read_csv(tmp_path / "new" / "table.tsv", sep="\t")
    assert list(table.columns[:4]) == ["task", "metric", "method", "value"] and len(table) == 4
