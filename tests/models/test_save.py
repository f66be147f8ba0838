"""Passing proves: a model folder is written whole or not at all, opens again, and replaces nothing but models."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

import scflyformer as sf
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.models import ModelFolderError
from scflyformer.models._folder import open_folder
from scflyformer.models._save import save_folder

TEXTS = {"metrics": {"loss": 1.5}, "provenance": {"seed": 0}, "card": "# card\n"}


@pytest.fixture
def model(tiny_model):
    return open_folder(tiny_model)


def left_over(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_round_trip(model, tmp_path):
    import torch

    saved = save_folder(tmp_path / "deep" / "new", model.network(), model.vocabulary, **TEXTS)
    assert saved.path == tmp_path / "deep" / "new"
    assert saved.metrics == {"loss": 1.5}
    assert (saved.path / "README.md").read_text() == "# card\n"
    assert saved.sha256 == model.sha256
    weights = saved.network().state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.network().state_dict().items())
    assert not left_over(saved.path.parent)
    assert not [name for name in os.listdir(saved.path) if name.endswith((".bin", ".pt", ".pkl"))]


@pytest.mark.parametrize(("bert_len", "read"), [(9, 9), (None, 50)])
def test_how_many_genes_are_read_travels_with_the_folder(tiny_vocabulary, tmp_path, bert_len, read):
    """By the code and by BERT; the network that is loaded embeds as the one that was saved."""
    import torch

    from scflyformer.network._network import CellBert, NetworkShape, make_config

    shape = NetworkShape(
        objective="cell", hidden_size=8, n_layers=1, n_heads=2, feed_forward=8, max_len=50, bert_len=bert_len,
        dropout=0.0, code_size=3, n_directions=4,
    )  # fmt: skip
    network = CellBert(make_config(tiny_vocabulary.n_tokens, shape)).eval()
    saved = sf.models.load(save_folder(tmp_path / "new", network, tiny_vocabulary, **TEXTS).path)
    again = saved.network()
    assert (saved.max_len, saved.bert_len) == (again.max_len, again.bert_len) == (50, read)
    assert again.finds_halves
    assert again.state_dict().keys() == network.state_dict().keys()
    tokens = torch.randperm(tiny_vocabulary.n_genes)[None, :40] + N_SPECIAL
    values = torch.rand(1, 40).sort(descending=True).values
    with torch.inference_mode():
        torch.testing.assert_close(again.embed(tokens, values), network.embed(tokens, values))


def test_a_model_without_the_number_reads_as_much_as_bert(model, tmp_path):
    """A folder that was written before the code read more than BERT."""
    config = json.loads((model.path / "config.json").read_text())
    positions = config["max_position_embeddings"] - 1
    saved = save_folder(tmp_path / "old", model.network(), model.vocabulary, **TEXTS)
    config = json.loads((saved.path / "config.json").read_text())
    config.pop("max_len", None)
    (saved.path / "config.json").write_text(json.dumps(config))
    loaded = sf.models.load(saved.path)
    assert (loaded.max_len, loaded.bert_len, loaded.network().max_len) == (positions,) * 3


def test_others_may_read_the_folder(model, tmp_path):
    before = os.umask(0o022)
    try:
        saved = save_folder(tmp_path / "new", model.network(), model.vocabulary, **TEXTS)
    finally:
        os.umask(before)
    assert saved.path.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in saved.path.iterdir()} == {0o644}


def test_half_precision_on_disk_is_float32_in_memory(model, tmp_path):
    import torch

    saved = save_folder(tmp_path / "half", copy.deepcopy(model.network()).half(), model.vocabulary, **TEXTS)
    file = "model.safetensors"
    assert (saved.path / file).stat().st_size < 0.7 * (model.path / file).stat().st_size
    assert {parameter.dtype for parameter in saved.network().parameters()} == {torch.float32}
    torch.testing.assert_close(saved.network().cell_norm.weight, model.network().cell_norm.weight, rtol=1e-3, atol=1e-3)


def test_json_is_strict(model, tmp_path):
    metrics = {"loss": float("nan"), "n": np.int64(3), "by_set": {"a/b": np.array([1.0, np.inf])}, 5: (1, None, True)}
    texts = TEXTS | {"metrics": metrics, "provenance": {"data": Path("x.h5ad")}}
    saved = save_folder(tmp_path / "new", model.network(), model.vocabulary, **texts)
    assert saved.metrics == {"loss": None, "n": 3, "by_set": {"a/b": [1.0, None]}, "5": [1, None, True]}
    assert "NaN" not in (saved.path / "metrics.json").read_text()
    assert saved.provenance == {"data": "x.h5ad"}


def test_parts_of_an_annotator(model, tmp_path):
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    saved = save_folder(
        tmp_path / "annotator",
        model.network(),
        model.vocabulary,
        **TEXTS,
        extra_files={"labels.json": json.dumps(["a", "b/c"])},
        extra_tensors={"classifier.weight": weight.T, "classifier.bias": np.zeros(3, np.float32)},
    )
    assert json.loads((saved.path / "labels.json").read_text()) == ["a", "b/c"]
    assert sorted(saved.tensors("classifier.")) == ["bias", "weight"]
    np.testing.assert_array_equal(saved.tensors("classifier.")["weight"], weight.T)
    assert saved.tensors("clock.") == {}
    assert saved.sha256 != model.sha256
    saved.network()


@pytest.mark.parametrize("name", ["../up.json", "config.json", "evil.pkl", "a/b", "checkpoints"])
def test_extra_files_with_bad_names(model, tmp_path, name):
    with pytest.raises(ValueError, match=r"expected a plain file name"):
        save_folder(tmp_path / "new", model.network(), model.vocabulary, **TEXTS, extra_files={name: ""})
    assert os.listdir(tmp_path) == []


def test_extra_tensors_never_replace_the_networks(model, tmp_path):
    with pytest.raises(ValueError, match=r"cell_norm.weight are the network's own"):
        save_folder(
            tmp_path / "new",
            model.network(),
            model.vocabulary,
            **TEXTS,
            extra_tensors={"cell_norm.weight": np.zeros(32, np.float32)},
        )
    assert os.listdir(tmp_path) == []


def test_taken(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"is a file"):
        save_folder(tmp_path / "file", model.network(), model.vocabulary, **TEXTS)
    target = tmp_path / "new"
    target.mkdir()
    save_folder(target, model.network(), model.vocabulary, **TEXTS)  # an empty folder is free
    with pytest.raises(FileExistsError, match=r"exists and is not empty"):
        save_folder(target, model.network(), model.vocabulary, **TEXTS)


def test_checkpoints_alone_leave_the_folder_free(model, tmp_path):
    checkpoints = tmp_path / "new" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "state").write_text("kept")
    saved = save_folder(tmp_path / "new", model.network(), model.vocabulary, **TEXTS)
    assert (saved.path / "checkpoints" / "state").read_text() == "kept"
    assert not left_over(tmp_path)


def test_a_failure_leaves_nothing(model, tmp_path, monkeypatch):
    target = tmp_path / "new"

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(model.vocabulary), "write", fail)
    with pytest.raises(OSError, match=r"disk full"):
        save_folder(target, model.network(), model.vocabulary, **TEXTS)
    assert os.listdir(tmp_path) == []


def test_a_failed_step_keeps_what_was_there(model, tmp_path, monkeypatch):
    target = tmp_path / "new"
    (target / "checkpoints").mkdir(parents=True)
    (target / "checkpoints" / "state").write_text("kept")
    rename = Path.rename

    def fail(self: Path, other: Path) -> Path:
        if Path(other) == target and self.name == target.name:
            raise OSError("no")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match=r"no"):
        save_folder(target, model.network(), model.vocabulary, **TEXTS)
    assert (target / "checkpoints" / "state").read_text() == "kept"
    assert os.listdir(tmp_path) == ["new"]


def test_parts_that_do_not_fit_are_not_saved(model, tmp_path, tiny_vocabulary):
    shorter = type(tiny_vocabulary)(
        **{
            name: getattr(tiny_vocabulary, name)[:-1]
            for name in ("gene_ids", "symbols", "medians", "n_cells", "synonyms")
        }
    )
    with pytest.raises(ModelFolderError, match=r"62 tokens"):
        save_folder(tmp_path / "new", model.network(), shorter, **TEXTS)
    assert os.listdir(tmp_path) == []
