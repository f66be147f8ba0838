"""Passing proves: weights kept are those of the lowest loss, whole or not at all; so is the checkpoint gone on from."""

from __future__ import annotations

import pytest
import torch

from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._checkpoints import BestWeights, last_checkpoint


def network(fill: float) -> CellBert:
    shape = {"hidden_size": 8, "n_layers": 1, "n_heads": 1, "feed_forward": 8, "max_len": 4, "dropout": 0.0}
    made = CellBert(make_config(9, NetworkShape(objective="cell", **shape)))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.fill_(fill)
    return made


def test_the_lowest_loss_stays(tmp_path):
    best = BestWeights(tmp_path / "best.safetensors")
    assert best.read() is None
    for step, loss in enumerate([float("nan"), 3.0, 2.0, 2.0, 2.5, float("nan")]):
        best.offer(network(step), step, {"loss": loss, "mlm": loss / 2})
    assert best.read() == (2, {"loss": 2.0, "mlm": 1.0})
    again = BestWeights(tmp_path / "best.safetensors")
    again.offer(network(9), 9, {"loss": 2.2})
    made = network(0)
    again.load(made)
    assert {float(each) for parameter in made.parameters() for each in parameter.detach().flatten()} == {2.0}
    assert made.cls.predictions.decoder.weight is made.bert.embeddings.word_embeddings.weight
    assert [each.name for each in tmp_path.iterdir()] == ["best.safetensors"]


def test_a_failure_to_write_leaves_the_last_ones(tmp_path, monkeypatch):
    from scflyformer.training import _checkpoints

    best = BestWeights(tmp_path / "best.safetensors")
    best.offer(network(1), 1, {"loss": 1.0})

    def fail(model, path, **_):
        with open(path, "w") as file:
            file.write("half")
        raise OSError("disk full")

    monkeypatch.setattr(_checkpoints, "save_model", fail)
    with pytest.raises(OSError, match="disk full"):
        best.offer(network(2), 2, {"loss": 0.5})
    assert best.read() == (1, {"loss": 1.0})


def test_the_last_whole_checkpoint_counts(tmp_path):
    """A process that dies while it writes a checkpoint goes on from the one before."""
    assert last_checkpoint(tmp_path / "absent") is None
    for step, state in {9: "{}", 100: "{}", 150: '{"cut', 200: None}.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-9"]
