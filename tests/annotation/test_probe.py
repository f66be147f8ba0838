"""The probe and its baselines: what they say of held-out cells, and which cells are strange."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scflyformer.annotation._baselines import Baselines
from scflyformer.annotation._folds import LabelledFolds
from scflyformer.annotation._probe import fit_probe
from scflyformer.data._reading import Reading

N = 120


@pytest.fixture
def labelled() -> LabelledFolds:
    cells = np.arange(0, 2 * N, 2)
    y, folds = np.arange(N) % 3, np.arange(N) // 30
    names = np.array([f"cell{number}" for number in cells], dtype=object)
    return LabelledFolds(cells, y, folds, np.array(["a", "b", "c"], dtype=object), names, None)


@pytest.fixture
def x(labelled: LabelledFolds) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(2 * N, 5))
    x[labelled.cells, labelled.y] += 4
    return x


def test_every_labelled_cell_is_tested(labelled: LabelledFolds, x: np.ndarray) -> None:
    fitted = fit_probe(None, x, labelled)
    assert fitted.tested.all() and fitted.probability.shape == (N, 3)
    assert (fitted.probability.argmax(axis=1) == labelled.y).mean() > 0.9
    assert ((fitted.novelty >= 0) & (fitted.novelty <= 1)).all()
    probability, novelty = fitted.classifier(x)
    assert probability.shape == (2 * N, 3) and novelty.shape == (2 * N,)


def test_scored_on_fewer_cells(labelled: LabelledFolds, x: np.ndarray) -> None:
    fitted = fit_probe(None, x, labelled)
    fewer = fitted.only(labelled.folds == 1, {"share": 0})
    np.testing.assert_array_equal(fewer.tested, labelled.folds == 1)
    np.testing.assert_array_equal(np.isnan(fewer.novelty), labelled.folds != 1)
    np.testing.assert_array_equal(fewer.probability[fewer.tested], fitted.probability[fewer.tested])
    assert fewer.notes == fitted.notes | {"share": 0}
    assert not np.isnan(fitted.novelty).any()


@pytest.fixture
def overlapping() -> tuple[LabelledFolds, np.ndarray]:
    """Return 240 labelled cells of 260, whose classes overlap, and the embedding of all."""
    random = np.random.default_rng(0)
    cells, number = np.arange(10, 250), np.arange(240)
    y = number % 3
    x = random.normal(size=(260, 6)).astype(np.float32)
    x[cells] += random.normal(0, 1.5, (3, 6))[y]
    names = np.array([f"cell{cell}" for cell in cells], dtype=object)
    return LabelledFolds(cells, y, number // 3 % 4, np.array(["a", "b", "c"], dtype=object), names, None), x


def test_a_held_out_fold_has_no_part_in_its_class_scores(overlapping: tuple[LabelledFolds, np.ndarray]) -> None:
    """With other labels in a fold its logits stay as they were, but for the one temperature that all cells share."""
    labelled, x = overlapping
    y, folds = labelled.y, labelled.folds
    before = fit_probe(None, x, labelled)
    after = fit_probe(None, x, replace(labelled, y=np.where(folds == 1, (y + 1) % 3, y)))
    old, new = (np.diff(np.log(fitted.probability), axis=1) for fitted in (before, after))

    def spread(fold: int) -> float:
        ratio = (new / old)[fold == folds]
        return float(np.ptp(ratio) / np.abs(np.median(ratio)))

    assert spread(1) < 1e-3 and spread(0) > 1  # the cells of fold 0 are judged by what learnt the other labels
    np.testing.assert_allclose(before.probability.sum(axis=1), 1)
    assert before.tested.all() and (before.probability.argmax(axis=1) == y).mean() > 0.8


def test_labels_without_meaning_are_not_learnt(overlapping: tuple[LabelledFolds, np.ndarray]) -> None:
    labelled, x = overlapping
    random = np.random.default_rng(1).permutation(labelled.y)
    fitted = fit_probe(None, x, replace(labelled, y=random))
    assert (fitted.probability.argmax(axis=1) == random).mean() < 0.45
    assert fitted.probability.max(axis=1).mean() < 0.45  # and it says so


def test_strange_cells_are_told_from_those_like_the_reference(overlapping: tuple[LabelledFolds, np.ndarray]) -> None:
    """Novelty of held-out cells is spread evenly from 0 to 1; that of cells unlike any class is close to 1."""
    labelled, x = overlapping
    fitted, n = fit_probe(None, x, labelled), len(labelled.y)
    np.testing.assert_allclose(np.quantile(fitted.novelty, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)
    far = np.random.default_rng(2).normal(size=(50, 6)).astype(np.float32) * 12
    probability, novelty = fitted.classifier(np.concatenate([x[labelled.cells], far]))
    assert np.median(novelty[n:]) > 0.97 and np.median(novelty[:n]) < 0.6
    assert (probability[:n].argmax(axis=1) == labelled.y).mean() > 0.85


@pytest.mark.parametrize(("held_out", "folds"), [([0, 1, 2, 3], None), ([0], [0, 1]), ([3], [0, 3])])
def test_baselines_stand_in_the_same_folds(
    labelled: LabelledFolds, x: np.ndarray, held_out: list[int], folds: list[int] | None
) -> None:
    """Where few folds are tested, one more gives the temperature."""
    baselines = Baselines(None, labelled, np.isin(labelled.folds, held_out), {"embedding": lambda: x}, Reading())
    assert baselines.folds == folds
    inside = np.isin(labelled.folds, range(4) if folds is None else folds)
    for name, least in (("embedding", 0.9), ("majority", 0.0)):
        probability = baselines.probability(name)
        np.testing.assert_array_equal(np.isfinite(probability).all(axis=1), inside)
        assert (probability[inside].argmax(axis=1) == labelled.y[inside]).mean() > least
