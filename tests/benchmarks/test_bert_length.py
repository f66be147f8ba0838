"""The study of how many genes BERT reads: what is trained on what, and what is timed."""

from __future__ import annotations

import pytest

import scflyformer as sf


def test_models_differ_in_length_alone_and_see_no_evaluation_library(tmp_path, monkeypatch):
    from bert_length import LENGTHS, trained
    from pretrain_fly import EXCLUDE, WHOLE_EXCLUDE
    from profile_code import VALIDATION

    asked = []
    monkeypatch.setattr(
        sf.tl, "pretrain", lambda files, **options: asked.append((files, options | vars(options.pop("options"))))
    )
    for length in LENGTHS:
        trained(tmp_path, tmp_path, tmp_path, length, 0.5)
    assert [options.pop("bert_len") for _, options in asked] == list(LENGTHS)
    assert len({str(options.pop("out")) for _, options in asked}) == len(LENGTHS)
    assert asked[0] == asked[1] == asked[2]
    files, options = asked[0]
    assert {*EXCLUDE["batch"], *WHOLE_EXCLUDE, *VALIDATION} <= set(options["exclude"]["batch"])
    assert not any("davie" in str(file) for file in files)


def test_speed_is_of_the_same_cells(tmp_path, monkeypatch, cells, tiny_model):
    import bert_length

    (tmp_path / "fly").mkdir()
    cells.write_h5ad(tmp_path / "fly" / "some.h5ad")
    monkeypatch.setattr(bert_length, "TIMED", ("fly/some",))
    monkeypatch.setattr(bert_length, "N_TIMED", 20)
    monkeypatch.setattr(bert_length, "N_TURNS", 2)
    head, _, row = bert_length.speed(tmp_path, {"one": tiny_model, "two": tiny_model}).splitlines()
    assert head == "| cells | genes a cell | one | two |" and row.startswith("| some | ")
    first = row.split(" | ")[2]
    assert float(first.split(", ")[1].rstrip("×")) == pytest.approx(1)
