"""Passing proves: processes started by torchrun train the model that one process trains, go on after one was killed,
and end with the reason when the first one cannot begin."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from flat_options import pretrain

import scflyformer as sf
from scflyformer.training import _processes
from scflyformer.training._processes import OtherProcessError, Processes, processes

ASKED: dict[str, Any] = {
    "hidden_size": 16, "n_layers": 1, "n_heads": 2, "max_len": 50, "batch_tokens": 60, "epochs": 1, "min_cells": 2,
    "warmup_steps": 1, "eval_steps": 5, "save_steps": 5, "validation": 0.2, "dropout": 0.0, "device": "cpu",
    "learning_rate": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """Forty cells over thirty genes, about two cells a batch."""
    counts = np.random.default_rng(3).poisson(np.random.default_rng(4).gamma(1, 2, 30), (40, 30))
    names = pd.DataFrame(index=[f"FBgn{n:07d}" for n in range(30)])
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    AnnData(counts.astype(np.float32), obs=pd.DataFrame(index=[f"c{n}" for n in range(40)]), var=names).write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def alone(path) -> Path:
    """The model of one process."""
    out = path.parent / "alone"
    pretrain(path, out=out, **ASKED)
    return out


def torchrun(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Start two processes and wait for them."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(Path(sf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, *map(str, words)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def options(asked: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in asked.items()]


def assert_same(one: Path, other: Path) -> None:
    """Losses to 1e-5 of their size, weights to 1e-5: the order of sums differs, and Adam divides by small numbers."""
    first, second = (pd.read_csv(folder / "training.tsv", sep="\t") for folder in (one, other))
    assert first["step"].tolist() == second["step"].tolist()
    for name in ("loss", "mlm", "profile", "val_loss"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-5)
    weights = [sf.models.load(folder).tensors("") for folder in (one, other)]
    # Attention does not depend on the bias of its keys: Adam scales up the noise of its gradient.
    names = [name for name in weights[0] if not name.endswith("key.bias")]
    assert max(np.abs(weights[0][name] - weights[1][name]).max() for name in names) < 1e-5
    found = [sf.models.load(folder).metrics["held_out"] for folder in (one, other)]
    numbers = [{name: value for name, value in each.items() if isinstance(value, int | float)} for each in found]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-4)


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(path, alone, tmp_path):
    """At the same batches, some of which hold fewer cells than there are processes."""
    done = torchrun("-m", "scflyformer", "pretrain", path, "--out", tmp_path / "out", *options(ASKED))
    assert done.returncode == 0, done.stderr
    # numcodecs shows its own, whatever is asked, where an old zarr has brought crc32c along
    assert not [line for line in done.stderr.splitlines() if "Warning" in line and "numcodecs" not in line]
    assert done.stderr.count("Pretrained") == 1  # one process speaks
    assert_same(alone, tmp_path / "out")
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == sorted(each.name for each in alone.iterdir())
    assert sf.models.load(tmp_path / "out").provenance["hardware"].startswith("2 processes, each on cpu")
    table = pd.read_csv(alone / "training.tsv", sep="\t")
    assert table["step"].max() > 10
    assert table["loss"].iloc[-3:].mean() < table["loss"].iloc[:3].mean() - 0.5


TROUBLE = """
    import os, signal, sys
    from scflyformer._cli import main
    from scflyformer.training import _trainer

    losses, seen = _trainer.losses, []

    def until_killed(network, batch):
        seen.append(network.training)
        if os.environ["RANK"] == "1" and sum(seen) == 8:  # after the checkpoint of step 5
            os.kill(os.getpid(), signal.SIGKILL)
        return losses(network, batch)

    _trainer.losses = until_killed
    words = sys.argv[1:]
    assert main([*words, "--sample-key=lane"]) == 1
    assert not os.path.exists(words[words.index("--out") + 1])
    main(words)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_when_one_fails_all_end_and_the_run_can_go_on(path, alone, tmp_path):
    """First a call that cannot work, told by both processes; then one of them is killed, and one alone goes on."""
    script, out = tmp_path / "trouble.py", tmp_path / "out"
    script.write_text(textwrap.dedent(TROUBLE))
    ended = torchrun(script, "pretrain", path, "--out", out, *options(ASKED))
    assert ended.returncode == 1, ended.stderr
    assert "scflyformer pretrain: error: sample_key: no 'lane'" in ended.stderr
    assert "Process 1 stops, because process 0 of 2 failed: KeyError" in ended.stderr
    assert os.listdir(out) == ["checkpoints"]
    assert [each.name for each in (out / "checkpoints" / "steps").iterdir()] == ["checkpoint-5"]
    pretrain(path, out=out, **ASKED)
    assert_same(alone, out)


def test_one_process_needs_no_others():
    assert Processes().gather("me") == ["me"]
    assert Processes().each(lambda: 5) == Processes().from_first(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        Processes().each(lambda: 1 / 0)
    with processes(torch.device("mps")) as found:
        assert found == Processes(device="mps")


def answers(monkeypatch, *values: Any) -> Processes:
    """Return the second process of two, who hears ``values`` from the first, one after the other."""
    told = iter(values)

    def gather(into: list, own: Any, group: Any) -> None:
        into[:] = [next(told), own]

    monkeypatch.setattr(_processes.distributed, "all_gather_object", gather)
    return Processes(1, 2, "group")


def test_the_others_hear_what_failed(monkeypatch):
    assert answers(monkeypatch, None, "made").from_first(lambda: 1 / 0) == "made"
    with pytest.raises(OtherProcessError, match="Process 1 stops, because process 0 of 2 failed: OSError: disk full"):
        answers(monkeypatch, "OSError: disk full").each(lambda: 5)
    with pytest.raises(ZeroDivisionError):
        answers(monkeypatch, "OSError: disk full").each(lambda: 1 / 0)


def test_a_lost_process(monkeypatch):
    def lost(*_: Any, **__: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(_processes.distributed, "all_gather_object", lost)
    with pytest.raises(OtherProcessError, match="Process 1 of 2 lost the others: one of them has ended"):
        Processes(1, 2, "group").gather(None)


@pytest.mark.parametrize(
    ("device", "match"),
    [
        ("mps", "Several processes train on device='cpu' or 'cuda', not on 'mps'"),
        ("cuda", r"Process 2 of this machine has no CUDA device of its own: there are 2\. Start at most 2 a machine"),
    ],
)
def test_devices_that_cannot_be_shared(monkeypatch, device, match):
    for name, value in {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=match), processes(torch.device(device)):
        pass
