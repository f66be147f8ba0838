"""The stopwatch leaves the warm-up out, and the plain loop's masks are as they should be."""

from __future__ import annotations

import pytest
import torch


def test_stopwatch():
    from benchmarks.speed.plain_trainer import WARM_UP, Stopwatch

    watch = Stopwatch()
    watch.ends = [(10.0 * step if step >= WARM_UP - 1 else -1e6, 100 * step) for step in range(WARM_UP + 3)]
    assert watch.rate() == pytest.approx(10)


def test_padded_and_masked():
    from benchmarks.speed.plain_trainer import padded_and_masked

    torch.manual_seed(0)
    cells = [torch.arange(3, 3 + n) for n in (400, 100)]
    batch = padded_and_masked(cells, n_tokens=500)
    assert batch["attention_mask"].sum() == 500 and batch["input_ids"].shape == (2, 400)
    targets = batch["labels"] >= 0
    assert not targets[batch["attention_mask"] == 0].any() and 40 < targets.sum() < 120
    assert (batch["input_ids"][~targets & (batch["attention_mask"] == 1)] >= 3).all()
    assert 0.6 < (batch["input_ids"][targets] == 1).float().mean() < 0.95
