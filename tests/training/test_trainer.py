"""Passing proves: the loop learns, its baselines are what they say, and it goes on from the last whole checkpoint."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import CellBert, make_config
from scflyformer.training import _trainer
from scflyformer.training._objective import MaskedCells, TokenBudgetBatches
from scflyformer.training._options import PretrainOptions
from scflyformer.training._trainer import held_out_losses, train, unigram_losses

OPTIONS = {
    "objective": "cell", "hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "max_len": 40,
    "dropout": 0.0, "epochs": 1.0, "batch_tokens": 300, "gradient_accumulation_steps": 1, "learning_rate": 0.01,
    "warmup_steps": 5, "weight_decay": 0.0,
    "eval_steps": 100, "save_steps": 100, "seed": 0, "dtype": "float32",
}  # fmt: skip


def tiny_network(n_genes: int, objective: str) -> CellBert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CellBert(
            make_config(
                n_genes + N_SPECIAL, objective=objective, hidden_size=16, n_layers=1, n_heads=2, feed_forward=32,
                max_len=40, dropout=0.0,
            )
        )  # fmt: skip


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_unigrams_against_an_oracle(make_store, objective):
    """Gene frequencies with one pseudo-count a measured gene, scored on the tokens that the network is asked for."""
    panels = np.ones((2, 30), dtype=bool)
    panels[1, :12] = False
    store, _ = make_store((60, 40), n_genes=30, panels=panels)
    train_cells, held = np.setdiff1d(np.arange(100), np.arange(0, 100, 3)), np.arange(0, 100, 3)
    sampling = {"max_len": 9, "seed": 4}
    batches = TokenBudgetBatches(store, held, batch_tokens=80, **sampling)
    data = MaskedCells(store, objective=objective, subsample=False, **sampling)
    frequency = {source: dict.fromkeys((np.flatnonzero(panels[source]) + N_SPECIAL).tolist(), 1) for source in (0, 1)}
    for cell in train_cells:
        tokens = store.tokens[store.indptr[cell] : store.indptr[cell + 1]].tolist()
        for token in tokens if objective == "cell" else tokens[:9]:
            frequency[store.source[cell]][token] += 1
    total = sum(sum(own.values()) for own in frequency.values())
    nats, by_source = [], []
    for batch in batches:
        found = data.__getitems__(batch)
        rows = np.nonzero(found["selected"].numpy())[0]
        for row, target in zip(rows, found["targets"].tolist(), strict=True):
            own = frequency[store.source[batch[1 + row]]]
            nats.append(-np.log(sum(each.get(target, 0) for each in frequency.values()) / total))
            by_source.append(-np.log(own[target] / sum(own.values())))
    result = unigram_losses(store, train_cells, batches, data)
    np.testing.assert_allclose(result["unigram"], np.mean(nats), rtol=1e-6)
    np.testing.assert_allclose(result["unigram_by_source"], np.mean(by_source), rtol=1e-6)


def test_a_source_without_a_gene_of_the_vocabulary_is_no_trouble(make_store):
    panels = np.array([[True] * 10, [False] * 10])
    store, _ = make_store((20, 5), n_genes=10, panels=panels)
    sampling = {"max_len": 9, "seed": 4}
    batches = TokenBudgetBatches(store, np.arange(25), batch_tokens=80, **sampling)
    data = MaskedCells(store, objective="cell", subsample=False, **sampling)
    assert np.isfinite(list(unigram_losses(store, np.arange(25), batches, data).values())).all()


def test_held_out_losses_are_weighted_by_what_was_asked(make_store):
    store, _ = make_store((50,))
    sampling = {"max_len": 40, "seed": 4}
    batches = TokenBudgetBatches(store, np.arange(50), batch_tokens=150, **sampling)
    data = MaskedCells(store, objective="mlm", subsample=False, **sampling)
    network = tiny_network(40, "mlm").train()
    found = held_out_losses(network, batches, data, device=torch.device("cpu"))
    assert network.training
    assert found == held_out_losses(network, batches, data, device=torch.device("cpu"))
    network.eval()
    nats = []
    for batch in batches:
        tensors = data.__getitems__(batch)
        logits = network(tensors["tokens"], tensors["values"], tensors["selected"])["token_logits"]
        logits = logits[:, N_SPECIAL:].log_softmax(-1)  # every gene was measured
        nats += (-logits[torch.arange(len(logits)), tensors["targets"] - N_SPECIAL]).tolist()
    np.testing.assert_allclose(found["mlm"], np.mean(nats), rtol=1e-5)


@pytest.fixture
def structured(make_store):
    """Cells of two kinds, which express either the first or the second half of the genes."""
    random = np.random.default_rng(0)
    kind = random.integers(0, 2, 120)
    rate = np.where((np.arange(40) < 20)[None] == kind[:, None].astype(bool), 4.0, 0.02)
    return make_store((120,), counts=random.poisson(rate))[0]


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_learning_reduces_the_loss_below_gene_frequencies(structured, tmp_path, objective):
    """Which half a cell expresses is seen from its other genes, so half a unigram's uncertainty can be learned away."""
    options = PretrainOptions(**(OPTIONS | {"objective": objective, "epochs": 20.0}))
    cells = np.arange(120)
    network, log, found = train(
        tiny_network(40, objective), structured, cells[20:], cells[:20], folder=tmp_path, options=options, device="cpu"
    )
    assert found["mlm"] < found["unigram"] - 0.4
    assert found["n_cells_scored"] == 20
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0] - 0.4
    parts = ("mlm", "profile") if objective == "cell" else ("mlm",)
    assert {"eval_loss", *(f"eval_{part}" for part in parts)} <= set().union(*log)
    assert max(entry["epoch"] for entry in log) == pytest.approx(20, abs=0.2)
    assert ("profile" in found) == (objective == "cell")
    assert next(network.parameters()).dtype == torch.float32


def test_the_last_whole_checkpoint_counts(tmp_path):
    """A process that dies while it writes a checkpoint goes on from the one before."""
    assert _trainer._last_checkpoint(tmp_path / "absent") is None
    for step, state in {9: "{}", 100: "{}", 150: '{"cut', 200: None}.items():
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert _trainer._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["checkpoint-100", "checkpoint-9"]


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("objective", "bert", "objective='bert' is unknown; expected 'cell' or 'mlm'"),
        ("hidden_size", 0, "hidden_size=0 must be a whole number of at least 1"),
        ("n_layers", 1.5, r"n_layers=1\.5 must be a whole number"),
        ("n_heads", 3, "hidden_size=16 must be a multiple of n_heads=3"),
        ("max_len", "many", "max_len='many' must be a whole number"),
        ("batch_tokens", True, "batch_tokens=True must be a whole number"),
        ("save_steps", 0, "save_steps=0 must be a whole number of at least 1"),
        ("seed", -1, "seed=-1 must be a whole number of at least 0"),
        ("seed", 2**32, r"seed=4294967296 is too large"),
        ("dropout", 1.0, r"dropout=1\.0 must be at least 0 and below 1"),
        ("epochs", 0, "epochs=0 must be a number above 0"),
        ("epochs", float("nan"), "epochs=nan must be a number above 0"),
        ("learning_rate", -1e-3, r"learning_rate=-0\.001 must be"),
        ("weight_decay", -1, "weight_decay=-1 must be"),
    ],
)
def test_settings_out_of_range(name, value, match):
    with pytest.raises(ValueError, match=match):
        PretrainOptions(**(OPTIONS | {name: value}))


def test_settings_may_be_numpy_numbers():
    options = PretrainOptions(**(OPTIONS | {"hidden_size": np.int64(32), "epochs": np.float32(2)}))
    from scflyformer.models._save import to_json

    assert json.loads(to_json({"options": vars(options)}))["options"]["hidden_size"] == 32
