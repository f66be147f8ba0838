"""Results are read again where they are kept, under names that do not change."""

from __future__ import annotations


def test_kept_once(tmp_path, capsys):
    from benchmarks.lib.results import VERSION, kept, result_file

    file = result_file(tmp_path, "clock w1118 → DGRP-551", "PCA-64", "64-732b551f-1000")
    assert file == tmp_path / "results" / f"clock_w1118_DGRP-551--PCA-64--64-732b551f-1000-v{VERSION}.json"
    first = kept(file, lambda: {"views": {"": 1}}, "task: column")
    assert first["views"] == {"": 1} and "[task: column, 0 s]" in capsys.readouterr().err
    assert kept(file, lambda: 1 / 0, "task: column") == first
    assert not capsys.readouterr().err and list(file.parent.iterdir()) == [file]
