"""Fine-tuning learns what the frozen network does not show, and keeps nothing that held-out cells do not bear out."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig

import scflyformer as sf
from scflyformer._running import Running
from scflyformer.annotation._finetune import finetune, refit
from scflyformer.annotation._network import CellClassifier
from scflyformer.annotation._trainer import FinetuneOptions, FinetuneTask
from scflyformer.data import _adata
from scflyformer.network._infer import embed_rows
from scflyformer.network._network import CellBert
from scflyformer.stats._logistic import fit_logistic

FAST = {"epochs": 12, "learning_rate": 1e-3, "head_learning_rate": 1e-3, "batch_cells": 16, "gene_dropout": 0.1}


@pytest.fixture
def task(many_cells, tiny_model: Path):
    """Return a model, ranked cells, their types, and positions to learn from, to judge by, to test.

    Weights are large: with those of the tiny model cells differ by little more than rounding, which training scales up.
    """
    model = sf.models.load(tiny_model)
    network, generator = copy.deepcopy(model.network()), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    rows, _ = _adata.token_rows(many_cells, model)
    y = many_cells.obs["cell_type"].cat.codes.to_numpy().astype(np.int64)
    return model.with_network(network), rows, y, np.split(np.random.default_rng(0).permutation(240), [120, 180])


def _start(model, rows, y, train):
    x = embed_rows(model.network(), rows, pooling="cell")
    return x, fit_logistic(x[train], y[train], n_classes=3, penalty=0.01)


def _task(model, rows, y, **options):
    return FinetuneTask(model, rows, y, FinetuneOptions(**{**FAST, **options}), Running("cpu", "float32"))


def _run(task, **options):
    model, rows, y, (train, check, _) = task
    x, head = _start(model, rows, y, train)
    return finetune(_task(model, rows, y, **options), head, train=train, check=check, start=head(x[check]))


def test_learns_on_cells_it_has_not_seen(task) -> None:
    model, rows, y, (train, check, test) = task
    before = {name: tensor.clone() for name, tensor in model.network().state_dict().items()}
    x, head = _start(model, rows, y, train)
    found = _run(task)
    frozen = (head(x[test]).argmax(axis=1) == y[test]).mean()
    tuned = (found.head(embed_rows(found.network, rows.take(test), pooling="cell")).argmax(axis=1) == y[test]).mean()
    assert tuned > frozen + 0.05
    assert found.epoch >= 1 and 0 < found.share <= 1
    assert len(found.losses) == 14 and found.losses[-1] == pytest.approx(min(found.losses))
    assert found.losses[-1] < found.losses[0]
    judged = found.head(embed_rows(found.network, rows.take(check), pooling="cell"))
    np.testing.assert_allclose(judged, found.logits, atol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.network().state_dict().items())


def test_the_same_for_a_seed(task) -> None:
    first, again, other = (_run(task, epochs=1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.logits, again.logits)
    assert first.losses == again.losses != other.losses


def test_refit_goes_as_far_as_the_judged_run(task) -> None:
    """On the same cells it ends with the same weights, though no held-out cells judge it."""
    model, rows, y, (train, _, _) = task
    found = _run(task)
    _, head = _start(model, rows, y, train)
    again, readout = refit(_task(model, rows, y), head, train=train, epoch=found.epoch, share=found.share)
    assert 1 <= found.epoch <= FAST["epochs"]
    for name, tensor in found.network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(readout.weight, found.head.weight, atol=1e-6)


def test_what_makes_held_out_cells_worse_is_not_kept(task) -> None:
    model, rows, y, (train, check, _) = task
    x, head = _start(model, rows, y, train)
    shuffled = y.copy()
    shuffled[train] = np.random.default_rng(1).permutation(y[train])
    spoiling = _task(model, rows, shuffled, epochs=2, learning_rate=0.05, head_learning_rate=1.0)
    found = finetune(spoiling, head, train=train, check=check, start=head(x[check]))
    if found.epoch == 0:
        assert found.share == 0
        np.testing.assert_allclose(found.logits, head(x[check]), rtol=1e-9)
    assert found.losses[-1] <= found.losses[0]


@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_the_classifier_starts_as_the_frozen_readout(task, pooling: str) -> None:
    """Its loss on whole cells is the readout's on the embedding, with and without a cell token."""
    model, rows, y, _ = task
    network = model.network()
    if pooling == "mean":
        torch.manual_seed(0)
        network = CellBert(BertConfig.from_dict(network.config.to_dict() | {"objective": "mlm"})).eval()
    x = embed_rows(network, rows, pooling=pooling)
    head = fit_logistic(x, y, n_classes=3, penalty=0.1)
    cell = rows.take(np.array([5]))
    batch = {
        "tokens": torch.from_numpy(cell.tokens.astype(np.int64))[None],
        "values": torch.from_numpy(cell.values)[None],
        "shown": torch.arange(len(cell.tokens))[None],
        "labels": torch.tensor([int(y[5])]),
        "panel": torch.ones(1, network.n_genes, dtype=torch.bool)
        if cell.panel is None
        else torch.from_numpy(cell.panel)[None],
    }
    classifier = CellClassifier(network, head).eval()
    with torch.inference_mode():
        loss = float(classifier(**batch)["loss"])
    expected = -torch.log_softmax(torch.from_numpy(head(x[5:6])), dim=1)[0, int(y[5])]
    assert loss == pytest.approx(float(expected), abs=1e-4)
    again = classifier.readout()
    np.testing.assert_allclose(again(x[:9]), head(x[:9]), atol=1e-4)
