"""The probe and its baselines, on features that are told apart by hand."""

from __future__ import annotations

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
