"""Nested ridge equals scikit-learn's pipeline fold by fold, in both forms, and no held-out cell has a part in a fit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from scflyformer.stats import _ridge
from scflyformer.stats._regression import r2
from scflyformer.stats._ridge import nested_ridge
from scflyformer.stats._splits import sample_folds

ALPHAS = np.array([1.0, 0.1, 0.01, 1e-4])


def _oracle(x: np.ndarray, widths: list[int], y: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise, weigh blocks and fit with scikit-learn, alpha chosen by leaving one training fold out in turn."""
    share = np.concatenate([np.full(width, width**-0.5) for width in widths])

    def fit(train: np.ndarray, test: np.ndarray, alpha: float) -> np.ndarray:
        scaler = StandardScaler().fit(x[train])
        model = Ridge(alpha=alpha * train.sum()).fit(scaler.transform(x[train]) * share, y[train])
        return model.predict(scaler.transform(x[test]) * share)

    predicted, alphas = np.empty(len(y)), []
    for fold in np.unique(folds):
        rest = [other for other in np.unique(folds) if other != fold]
        errors = [
            sum(((y[folds == g] - fit((folds != g) & (folds != fold), folds == g, alpha)) ** 2).sum() for g in rest)
            for alpha in ALPHAS
        ]
        alphas.append(ALPHAS[int(np.argmin(errors))])
        predicted[folds == fold] = fit(folds != fold, folds == fold, alphas[-1])
    return predicted, np.asarray(alphas)


def _data(n: int = 90, width: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    genes = rng.poisson(1.0, (n, width)).astype(np.float32)
    cells = rng.normal(5, 3, (n, 4)).astype(np.float32)
    genes[:, 0] = 1  # a gene that does not vary
    y = genes @ rng.normal(size=width) + cells @ rng.normal(size=4) + rng.normal(size=n)
    return genes, cells, y, rng.integers(0, 4, n)


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_equals_sklearn(width: int) -> None:
    genes, cells, y, folds = _data(width=width)
    arms = {"genes": ["genes"], "cells": ["cells"], "both": ["cells", "genes"]}
    blocks = {"genes": sp.csr_matrix(genes), "cells": cells}
    found = nested_ridge(blocks, y, folds, arms, alphas=ALPHAS, final=["both"])
    assert list(found) == list(arms)
    for arm, parts in {"genes": [genes], "cells": [cells], "both": [cells, genes]}.items():
        predicted, alphas = _oracle(np.hstack(parts), [part.shape[1] for part in parts], y, folds)
        np.testing.assert_array_equal(found[arm].alphas, alphas)
        np.testing.assert_allclose(found[arm].predicted, predicted, rtol=1e-4, atol=1e-4)
    both = np.hstack([cells, genes])
    head, share = found["both"].head, np.repeat([4**-0.5, width**-0.5], [4, width])
    oracle = Ridge(alpha=found["both"].alpha * len(y)).fit(StandardScaler().fit_transform(both) * share, y)
    expected = oracle.predict(StandardScaler().fit_transform(both) * share)
    np.testing.assert_allclose(head(both)[:, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head(sp.csr_matrix(both))[:, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.mean, both.mean(axis=0), rtol=1e-5)
    assert found["genes"].head is None


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_the_held_out_fold_has_no_part_in_its_prediction(width: int) -> None:
    """What the held-out fold's ages are, and how other folds' held-out cells look, cannot leak into scaler or alpha."""
    genes, cells, y, folds = _data(width=width)
    blocks, arms = {"genes": genes, "cells": cells}, {"both": ["genes", "cells"]}
    before = nested_ridge(blocks, y, folds, arms, alphas=ALPHAS)["both"]
    held = folds == 0
    y = np.where(held, 1000 - 50 * y, y)
    shown = np.flatnonzero(held)[0]  # one cell keeps its features: the others must not sway its prediction
    others = held & (np.arange(len(y)) != shown)
    genes = np.where(others[:, None], genes * 100 + 7, genes)
    cells = np.where(others[:, None], -cells * 30, cells)
    after = nested_ridge({"genes": genes, "cells": cells}, y, folds, arms, alphas=ALPHAS)["both"]
    assert after.alphas[0] == before.alphas[0]
    assert after.predicted[shown] == pytest.approx(before.predicted[shown], rel=1e-5, abs=1e-5)
    assert not np.allclose(after.predicted[~held], before.predicted[~held])


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_inner_predictions_have_seen_neither_fold(width: int) -> None:
    """They are those of scikit-learn without both folds, with the penalty chosen for the outer one."""
    genes, cells, y, folds = _data(width=width)
    both, share = np.hstack([cells, genes]), np.repeat([4**-0.5, width**-0.5], [4, width])
    found = nested_ridge({"genes": genes, "cells": cells}, y, folds, {"both": ["cells", "genes"]}, alphas=ALPHAS)
    inner = found["both"].inner
    assert inner.shape == (4, len(y))
    for fold in range(4):
        assert np.isnan(inner[fold, folds == fold]).all()
        for own in set(range(4)) - {fold}:
            train, test = (folds != fold) & (folds != own), folds == own
            scaler = StandardScaler().fit(both[train])
            model = Ridge(alpha=found["both"].alphas[fold] * train.sum())
            model.fit(scaler.transform(both[train]) * share, y[train])
            expected = model.predict(scaler.transform(both[test]) * share)
            np.testing.assert_allclose(inner[fold, test], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_readouts_of_the_folds_make_the_predictions(width: int) -> None:
    genes, cells, y, folds = _data(width=width)
    found = nested_ridge({"genes": genes, "cells": cells}, y, folds, {"both": ["cells", "genes"]})["both"]
    assert len(found.heads) == 4
    for fold, head in enumerate(found.heads):
        held = folds == fold
        np.testing.assert_allclose(head(np.hstack([cells, genes])[held])[:, 0], found.predicted[held], rtol=1e-4)


def test_both_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    genes, cells, y, folds = _data(n=60, width=58)
    blocks, arms = {"genes": genes, "cells": cells}, {"both": ["genes", "cells"]}
    dual = nested_ridge(blocks, y, folds, arms)["both"]
    padded = {name: np.repeat(block, 2, axis=0) for name, block in blocks.items()}
    primal = nested_ridge(padded, np.repeat(y, 2), np.repeat(folds, 2), arms)["both"]
    np.testing.assert_allclose(primal.predicted[::2], dual.predicted, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(_ridge, "CHUNK", 7)
    chunked = nested_ridge(padded, np.repeat(y, 2), np.repeat(folds, 2), arms)["both"]
    np.testing.assert_allclose(chunked.predicted, primal.predicted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [60, 400], ids=["primal", "dual"])
def test_library_effects_without_ageing_give_nothing_by_sample(width: int) -> None:
    """Libraries differ and each has one age, but age does nothing: by cell that looks like a clock, by sample not."""
    from scflyformer.stats._splits import cell_folds

    by_sample, by_cell = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        ages = np.repeat([0.0, 5, 10, 20, 30, 50], 3)
        sample = np.repeat(np.arange(18), 15)
        age = ages[sample]
        x = rng.normal(0, 1, (18, width))[sample] + rng.normal(size=(270, width))
        for folds, scores in ((sample_folds(sample, values=age, seed=seed), by_sample), (cell_folds(age), by_cell)):
            scores.append(r2(age, nested_ridge({"x": x}, age, folds, {"x": ["x"]})["x"].predicted))
    assert max(by_sample) <= 0.05
    assert min(by_cell) > 0.4


def test_two_folds_are_too_few() -> None:
    genes, _, y, _ = _data()
    with pytest.raises(ValueError, match="at least 3 folds; got 2"):
        nested_ridge({"genes": genes}, y, np.arange(90) % 2, {"genes": ["genes"]})
