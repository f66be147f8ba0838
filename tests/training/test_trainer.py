"""Passing proves: the loop learns, its baselines are what they say, and it goes on from the last whole checkpoint."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training import _trainer
from scflyformer.training._batches import TokenBudgetBatches
from scflyformer.training._objective import MaskedCells
from scflyformer.training._options import RunOptions
from scflyformer.training._processes import Processes
from scflyformer.training._trainer import held_out_losses, train_network, unigram_losses

OPTIONS = {
    "objective": "cell", "hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 32, "max_len": 40,
    "bert_len": 40, "code_size": 0, "n_directions": 0, "code_epochs": 0, "dropout": 0.0, "epochs": 1.0,
    "batch_tokens": 300, "gradient_accumulation_steps": 1, "learning_rate": 0.01, "warmup_steps": 5,
    "weight_decay": 0.0,
    "eval_steps": 100, "save_steps": 100, "seed": 0, "dtype": "float32",
}  # fmt: skip


def tiny_network(n_genes: int, objective: str) -> CellBert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        shape = NetworkShape(
            objective=objective, hidden_size=16, n_layers=1, n_heads=2, feed_forward=32, max_len=40, dropout=0.0
        )
        return CellBert(make_config(n_genes + N_SPECIAL, shape))


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
        for token in tokens[:9]:
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
    assert found == pytest.approx(held_out_losses(network, batches, data, device=torch.device("cpu")), rel=1e-6)
    network.eval()
    nats = []
    for batch in batches:
        tensors = data.__getitems__(batch)
        logits = network(tensors["tokens"], tensors["values"], tensors["selected"])["token_logits"]
        logits = logits[:, N_SPECIAL:].log_softmax(-1)  # every gene was measured
        nats += (-logits[torch.arange(len(logits)), tensors["targets"] - N_SPECIAL]).tolist()
    np.testing.assert_allclose(found["mlm"], np.mean(nats), rtol=1e-5)


def test_the_best_weights_are_returned(structured, tmp_path, monkeypatch):
    """Not the last: the held-out loss is made to rise after the second of four evaluations."""
    seen, told = {}, iter([3.0, 2.0, 2.5, float("nan")])

    def found(network, *_, **__):
        loss = next(told)
        seen[loss] = {name: value.clone() for name, value in network.state_dict().items()}
        return {"loss": loss, "mlm": loss / 2}

    monkeypatch.setattr(_trainer, "held_out_losses", found)
    options = RunOptions(**(OPTIONS | {"eval_steps": 2}))
    cells = np.arange(120)
    network, log, metrics = train_network(
        tiny_network(40, "cell"), structured, cells[20:], cells[:20], folder=tmp_path, options=options
    )
    steps = [entry["step"] for entry in log if "eval_loss" in entry]
    assert steps == [2, 4, 6, 7]  # the last step is looked at too
    assert (metrics["step"], metrics["mlm"]) == (4, 1.0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, seen[2.0][name])


def losses_of(log: list[dict[str, float]]) -> list[float]:
    return [entry["loss"] for entry in log if "loss" in entry]


@pytest.fixture
def trained(structured, tmp_path):
    """Return a function that trains a tiny network: log and weights."""

    def run(objective: str = "cell", device: str = "cpu", num_workers: int = 0, **asked):
        options = RunOptions(**(OPTIONS | {"objective": objective} | asked))
        cells, folder = np.arange(120), tmp_path / str(len(list(tmp_path.iterdir())))
        network, log, found = train_network(
            tiny_network(40, objective), structured, cells[20:], cells[:20],
            folder=folder, options=options, processes=Processes(device=device, num_workers=num_workers),
        )  # fmt: skip
        return log, network.cpu().state_dict(), found

    return run


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_accumulation_equals_a_larger_batch(trained, objective):
    """Three batches a step against one of three times their tokens, ten passes."""
    asked = {"objective": objective, "epochs": 10}
    (log, whole, _), (parts_log, parts, _) = (
        trained(batch_tokens=tokens, gradient_accumulation_steps=n, **asked) for tokens, n in ((600, 1), (200, 3))
    )
    steps = [entry["step"] for entry in log]
    assert steps == [entry["step"] for entry in parts_log]
    assert max(steps) >= 20
    for name in ("loss", "mlm", *(["profile"] if objective == "cell" else [])):
        one, other = ([entry[name] for entry in each if name in entry] for each in (log, parts_log))
        np.testing.assert_allclose(one, other, rtol=1e-5)
    for name in whole:
        if not name.endswith("key.bias"):  # attention does not depend on it: Adam scales up the noise of its gradient
            torch.testing.assert_close(parts[name], whole[name], atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_workers_read_the_same_batches(trained):
    (log, alone, _), (worked_log, worked, _) = trained(num_workers=0), trained(num_workers=2)
    assert losses_of(log) == losses_of(worked_log)
    assert all(torch.equal(worked[name], alone[name]) for name in alone)


def test_a_store_that_is_sent_to_a_worker_is_opened_there(structured):
    sent = pickle.dumps(structured)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).tokens, structured.tokens)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_cuda_trains_as_the_cpu_does(trained, objective):
    """In float32 and without dropout: losses of twenty steps to 1e-3 of their size, and the held-out ones."""
    asked = {"objective": objective, "epochs": 3, "learning_rate": 1e-3}
    (log, _, found), (cuda_log, _, cuda_found) = (trained(device=device, **asked) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(losses_of(cuda_log), losses_of(log), rtol=1e-3)
    assert cuda_found == pytest.approx(found, rel=1e-3)


def test_fused_optimiser_and_fused_attention(structured, trained, monkeypatch):
    """What transformers picks here: AdamW in one kernel, and torch's scaled dot product attention."""
    made = []
    create = _trainer.PretrainingTrainer.create_optimizer
    monkeypatch.setattr(_trainer.PretrainingTrainer, "create_optimizer", lambda *args: made.append(create(*args)))
    trained(epochs=0.2)
    assert isinstance(made[0], torch.optim.AdamW)
    recent = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 8)
    assert bool(made[0].defaults["fused"]) is recent
    network = tiny_network(40, "cell")
    assert network.bert.config._attn_implementation == "sdpa"
    batch = MaskedCells(structured, objective="cell", max_len=40, seed=0, subsample=False).__getitems__([0, 1, 2])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        network(batch["tokens"], batch["values"], batch["selected"], shown=batch["shown"])
    assert "aten::scaled_dot_product_attention" in {event.key for event in profile.key_averages()}


def test_bfloat16_on_a_cpu(trained, monkeypatch):
    """Trains as float32 does, to the precision of its numbers, by plain attention and with few kernels kept."""
    kernels, used, step = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", set(), _trainer.PretrainingTrainer.training_step

    def noted(self, model, *args):
        used.add(model.bert.config._attn_implementation)
        return step(self, model, *args)

    monkeypatch.setenv(kernels, "")  # so that what a run sets does not outlive the test
    monkeypatch.delenv(kernels)
    monkeypatch.setattr(_trainer.PretrainingTrainer, "training_step", noted)
    whole, *_ = trained(epochs=3)
    assert (used, kernels in os.environ) == ({"sdpa"}, False)
    used.clear()
    half, _, found = trained(epochs=3, dtype="bfloat16")
    assert (used, os.environ[kernels]) == ({"eager"}, "64")
    assert losses_of(half) != losses_of(whole)
    np.testing.assert_allclose(losses_of(half), losses_of(whole), rtol=0.02)
    assert found["mlm"] < found["unigram"]


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
    options = RunOptions(**(OPTIONS | {"objective": objective, "epochs": 20.0}))
    cells = np.arange(120)
    network, log, found = train_network(
        tiny_network(40, objective), structured, cells[20:], cells[:20], folder=tmp_path, options=options
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


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("objective", "bert", "objective='bert' is unknown; expected 'cell' or 'mlm'"),
        ("hidden_size", 0, "hidden_size=0 must be a whole number of at least 1"),
        ("n_layers", 1.5, r"n_layers=1\.5 must be a whole number"),
        ("n_heads", 3, "hidden_size=16 must be a multiple of n_heads=3"),
        ("max_len", "many", "max_len='many' must be a whole number"),
        ("bert_len", 0, "bert_len=0 must be a whole number of at least 1"),
        ("batch_tokens", True, "batch_tokens=True must be a whole number"),
        ("gradient_accumulation_steps", 0, "gradient_accumulation_steps=0 must be a whole number of at least 1"),
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
        RunOptions(**(OPTIONS | {name: value}))


def test_settings_may_be_numpy_numbers():
    options = RunOptions(**(OPTIONS | {"hidden_size": np.int64(32), "epochs": np.float32(2)}))
    from scflyformer.models._save import to_json

    assert json.loads(to_json({"options": vars(options)}))["options"]["hidden_size"] == 32
