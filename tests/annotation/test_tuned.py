"""A network that was fine-tuned on labels is told, as samples that it learnt from are not held out from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import pytest

import scflyformer as sf
from scflyformer import _log
from scflyformer.annotation._tuned import tuned_on


def _folder(path: Path, notes: dict) -> Path:
    path.mkdir(exist_ok=True)
    (path / "labels.json").write_text(json.dumps({"label_key": "types", "notes": notes}))
    return path


def test_only_a_network_that_moved_has_learnt(tmp_path: Path) -> None:
    moved, frozen = _folder(tmp_path / "moved", {"share": 0.5}), _folder(tmp_path / "frozen", {"share": 0.0})
    assert tuned_on(SimpleNamespace(path=moved), {}) == "types"
    assert tuned_on(None, {"model_folder": str(moved)}) == "types"
    assert tuned_on(SimpleNamespace(path=frozen), {}) == ""
    assert tuned_on(SimpleNamespace(path=_folder(tmp_path / "probe", {"penalty": 0.1})), {}) == ""
    assert tuned_on(None, {}) == tuned_on(None, {"model_folder": str(tmp_path / "gone")}) == ""


@pytest.mark.parametrize("tool", ["annotate", "age_clock"])
def test_scores_on_its_embedding_are_warned_of(
    many_cells: ad.AnnData, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    tuned = _folder(shutil.copytree(tiny_model, tmp_path / "tuned"), {"share": 0.5})
    many_cells.obs["age"] = many_cells.obs["batch"].astype("category").cat.codes.astype(float)
    arguments = {"label_key": "cell_type"} if tool == "annotate" else {"age_key": "age"}
    for model, expected in ((tiny_model, False), (tuned, True)):
        sf.tl.embed(many_cells, model=model)
        said.clear()
        getattr(sf.tl, tool)(many_cells, sample_key="batch", baselines="none", key_added="found", **arguments)
        assert any("was fine-tuned on labels, obs['types']" in line for line in said) is expected
        assert (many_cells.uns["found"]["params"].get("model_tuned_on") == "types") is expected
