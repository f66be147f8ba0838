"""What a run with a fold held out is made of, without a network."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scflyformer.annotation import _finetune
from scflyformer.annotation._finetune_folds import FoldTuner
from scflyformer.annotation._folds import LabelledFolds
from scflyformer.annotation._trainer import FinetuneOptions

N = 90
RANDOM = np.random.default_rng(0)


@pytest.fixture
def tuner() -> FoldTuner:
    """Return one whose labelled cells are every other of all cells, in three folds."""
    y = np.arange(N) % 3
    names = np.array([f"cell{number}" for number in range(N)], dtype=object)
    labelled = LabelledFolds(2 * np.arange(N), y, np.arange(N) // 30, np.array(["a", "b", "c"]), names, None)
    x = RANDOM.normal(size=(N, 4))
    x[np.arange(N), y] += 4
    return FoldTuner(SimpleNamespace(options=FinetuneOptions(seed=3), model=None), x, labelled)


def test_a_subsample_is_the_same_for_a_seed(tuner: FoldTuner) -> None:
    cells = np.arange(10, 60)
    few = tuner.subsample(cells, 20)
    assert len(few) == 20 and set(few) <= set(cells) and (np.diff(few) > 0).all()
    np.testing.assert_array_equal(few, tuner.subsample(cells, 20))
    assert tuner.subsample(cells, 50) is cells


def test_the_probe_and_its_distances_know_the_classes(tuner: FoldTuner) -> None:
    train, held = np.arange(60), np.arange(60, 90)
    assert (tuner.probe(train, 0.1)(tuner.x[held]).argmax(axis=1) == tuner.labelled.y[held]).mean() > 0.9
    nearest = tuner.distance(tuner.x[train], train)
    assert nearest(tuner.x[held]).mean() < nearest(tuner.x[held] + 20).mean()


def test_the_next_fold_decides(tuner: FoldTuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the last fold, the first judges and the second teaches; logits are those of the network that was kept."""
    asked: dict[str, Any] = {}

    def frozen(_: Any, head: Any, *, start: np.ndarray, **positions: np.ndarray) -> Any:
        asked.update(positions)
        return SimpleNamespace(share=0.0, head=head, logits=start)

    monkeypatch.setattr(_finetune, "finetune", frozen)
    held = tuner.hold_out(2)
    np.testing.assert_array_equal(held.cells, np.arange(60, 90))
    np.testing.assert_array_equal(asked["check"], 2 * np.arange(30))
    np.testing.assert_array_equal(asked["train"], 2 * np.arange(30, 60))
    np.testing.assert_allclose(held.logits, held.run.tuned.head(tuner.x[60:]))
    assert held.distance.shape == (30,) and np.isfinite(held.distance).all()


def test_one_fold_stops_and_the_training_folds_choose(tuner: FoldTuner, monkeypatch: pytest.MonkeyPatch) -> None:
    """With four folds the penalty is chosen by the two that teach, and what decides when to stop has no part in it."""
    from scflyformer.stats import _cross

    tuner = replace(tuner, labelled=replace(tuner.labelled, folds=np.arange(N) % 4))
    asked: list[Any] = []
    monkeypatch.setattr(_cross, "choose", lambda family, x, y, splits, *_: asked.extend(splits) or 0.1)
    kept = SimpleNamespace(share=0.0, logits=None)
    monkeypatch.setattr(_finetune, "finetune", lambda _, head, **__: SimpleNamespace(**vars(kept), head=head))
    tuner.hold_out(0)
    folds = np.arange(N) % 4
    assert [(set(folds[core]), set(folds[check])) for core, check in asked] == [({3}, {2}), ({2}, {3})]
