"""Nested ridge equals scikit-learn's pipeline fold by fold, in both forms, and no held-out cell has a part in a fit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from scflyformer.clock import _ridge_solvers
from scflyformer.clock._ridge import nested_ridge
from scflyformer.stats._regression import r2
from scflyformer.stats._splits import sample_folds

ALPHAS = np.array([1.0, 0.1, 0.01, 1e-4])


class _Scaler:
    """Each block gets total variance 1: all its columns by one factor where it is a whole, else each by its share."""

    def __init__(self, x: np.ndarray, widths: list[int], wholes: list[bool]) -> None:
        self.mean, std = x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)
        parts = np.split(std, np.cumsum(widths)[:-1])
        scales = [
            np.full(len(part), np.sqrt((part**2).sum())) if whole else np.where(part > 0, part, 1) * len(part) ** 0.5
            for part, whole in zip(parts, wholes, strict=True)
        ]
        self.scale = np.concatenate(scales)

    def transform(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.scale


def _oracle(
    x: np.ndarray, widths: list[int], wholes: list[bool], y: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scale blocks and fit with scikit-learn, alpha chosen by leaving one training fold out in turn."""

    def fit(train: np.ndarray, test: np.ndarray, alpha: float) -> np.ndarray:
        scaler = _Scaler(x[train], widths, wholes)
        model = Ridge(alpha=alpha * train.sum()).fit(scaler.transform(x[train]), y[train])
        return model.predict(scaler.transform(x[test]))

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


@pytest.mark.parametrize("together", [(), ("cells",), ("cells", "genes")], ids=["each", "cells", "both"])
@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_equals_sklearn(width: int, together: tuple[str, ...]) -> None:
    genes, cells, y, folds = _data(width=width)
    cells[:, 1] *= 5
    feature_sets = {"genes": ["genes"], "cells": ["cells"], "both": ["cells", "genes"]}
    blocks = {"genes": sp.csr_matrix(genes), "cells": cells}
    found = nested_ridge(blocks, y, folds, feature_sets, alphas=ALPHAS, final=["both"], together=together)
    assert list(found) == list(feature_sets)
    dense = {"genes": genes, "cells": cells}
    for name, names in feature_sets.items():
        parts, wholes = [dense[name] for name in names], [name in together for name in names]
        predicted, alphas = _oracle(np.hstack(parts), [part.shape[1] for part in parts], wholes, y, folds)
        np.testing.assert_array_equal(found[name].alphas, alphas)
        np.testing.assert_allclose(found[name].predicted, predicted, rtol=1e-4, atol=1e-4)
    both = np.hstack([cells, genes])
    head, scaler = found["both"].head, _Scaler(both, [4, width], ["cells" in together, "genes" in together])
    oracle = Ridge(alpha=found["both"].alpha * len(y)).fit(scaler.transform(both), y)
    expected = oracle.predict(scaler.transform(both))
    np.testing.assert_allclose(head(both)[:, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head(sp.csr_matrix(both))[:, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.mean, both.mean(axis=0), rtol=1e-5)
    assert found["genes"].head is None


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_an_embedding_keeps_the_relative_scale_of_its_columns_and_has_no_unit(width: int) -> None:
    _, _, y, folds = _data()
    x = np.random.default_rng(1).normal(size=(90, width)) * 0.8 ** np.arange(width)
    y = x @ np.random.default_rng(2).normal(size=width) + y / 10

    def predicted(x: np.ndarray, **options: object) -> np.ndarray:
        return nested_ridge({"x": x}, y, folds, {"x": ["x"]}, alphas=ALPHAS, **options)["x"].predicted

    whole, each = predicted(x, together=["x"]), predicted(x)
    for factor in (1e-4, 1e4):
        np.testing.assert_allclose(predicted(x * factor, together=["x"]), whole, rtol=1e-5, atol=1e-5)
    wider = x * np.where(np.arange(width) == 5, 4, 1)
    np.testing.assert_allclose(predicted(wider), each, rtol=1e-5, atol=1e-5)
    assert not np.allclose(predicted(wider, together=["x"]), whole, atol=0.1)
    turned = x @ np.linalg.qr(np.random.default_rng(3).normal(size=(width, width)))[0]
    np.testing.assert_allclose(predicted(turned, together=["x"]), whole, rtol=1e-5, atol=1e-5)
    constant = np.full_like(x, 3.0)
    assert np.isfinite(predicted(constant, together=["x"])).all()


@pytest.mark.parametrize("together", [(), ("genes", "cells")], ids=["each", "together"])
@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_the_held_out_fold_has_no_part_in_its_prediction(width: int, together: tuple[str, ...]) -> None:
    """What the held-out fold's ages are, and how other folds' held-out cells look, cannot leak into scaler or alpha."""
    genes, cells, y, folds = _data(width=width)
    blocks, feature_sets = {"genes": genes, "cells": cells}, {"both": ["genes", "cells"]}
    before = nested_ridge(blocks, y, folds, feature_sets, alphas=ALPHAS, together=together)["both"]
    held = folds == 0
    y = np.where(held, 1000 - 50 * y, y)
    shown = np.flatnonzero(held)[0]  # one cell keeps its features: the others must not sway its prediction
    others = held & (np.arange(len(y)) != shown)
    genes = np.where(others[:, None], genes * 100 + 7, genes)
    cells = np.where(others[:, None], -cells * 30, cells)
    blocks = {"genes": genes, "cells": cells}
    after = nested_ridge(blocks, y, folds, feature_sets, alphas=ALPHAS, together=together)["both"]
    assert after.alphas[0] == before.alphas[0]
    assert after.predicted[shown] == pytest.approx(before.predicted[shown], rel=1e-5, abs=1e-5)
    assert not np.allclose(after.predicted[~held], before.predicted[~held])


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_inner_predictions_have_seen_neither_fold(width: int) -> None:
    """They are those of scikit-learn without both folds, with the penalty chosen for the outer one."""
    genes, cells, y, folds = _data(width=width)
    both = np.hstack([cells, genes])
    found = nested_ridge({"genes": genes, "cells": cells}, y, folds, {"both": ["cells", "genes"]}, alphas=ALPHAS)
    inner = found["both"].inner
    assert inner.shape == (4, len(y))
    for fold in range(4):
        assert np.isnan(inner[fold, folds == fold]).all()
        for own in set(range(4)) - {fold}:
            train, test = (folds != fold) & (folds != own), folds == own
            scaler = _Scaler(both[train], [4, width], [False, False])
            model = Ridge(alpha=found["both"].alphas[fold] * train.sum())
            model.fit(scaler.transform(both[train]), y[train])
            expected = model.predict(scaler.transform(both[test]))
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
    blocks, feature_sets = {"genes": genes, "cells": cells}, {"both": ["genes", "cells"]}
    dual = nested_ridge(blocks, y, folds, feature_sets)["both"]
    padded = {name: np.repeat(block, 2, axis=0) for name, block in blocks.items()}
    primal = nested_ridge(padded, np.repeat(y, 2), np.repeat(folds, 2), feature_sets)["both"]
    np.testing.assert_allclose(primal.predicted[::2], dual.predicted, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(_ridge_solvers, "CHUNK", 7)
    chunked = nested_ridge(padded, np.repeat(y, 2), np.repeat(folds, 2), feature_sets)["both"]
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


@pytest.mark.parametrize("width", [12, 150], ids=["primal", "dual"])
def test_the_penalty_weighs_samples(width: int) -> None:
    """Alpha has the least mean over samples of their mean squared error; a large sample does not choose alone."""
    rng = np.random.default_rng(0)
    samples = np.repeat(np.arange(16), np.where(np.arange(16) % 4 == 0, 60, 8))
    slope = rng.normal(size=width)
    x = rng.normal(size=(len(samples), width)).astype(np.float32)
    noise = np.where(np.arange(16) % 4 == 0, 20.0, 0.1)[samples]  # large samples tell little
    y, folds = x @ slope + noise * rng.normal(size=len(samples)), samples // 4
    found = nested_ridge({"x": x}, y, folds, {"x": ["x"]}, alphas=ALPHAS, samples=samples, final=["x"])["x"]
    by_cell = nested_ridge({"x": x}, y, folds, {"x": ["x"]}, alphas=ALPHAS, final=["x"])["x"]

    def error(train: np.ndarray, test: np.ndarray, alpha: float) -> np.ndarray:
        scaler = _Scaler(x[train], [width], [False])
        model = Ridge(alpha=alpha * train.sum()).fit(scaler.transform(x[train]), y[train])
        return (y[test] - model.predict(scaler.transform(x[test]))) ** 2

    def least(held: int | None, by_sample: bool) -> float:
        rest = [fold for fold in range(4) if fold != held]
        errors = []
        for alpha in ALPHAS:
            parts = [error((folds != fold) & (folds != held), folds == fold, alpha) for fold in rest]
            who = np.concatenate([samples[folds == fold] for fold in rest])
            every = np.concatenate(parts)
            means = [every[who == sample].mean() for sample in np.unique(who)]
            errors.append(np.mean(means) if by_sample else every.mean())
        return float(ALPHAS[int(np.argmin(errors))])

    for fold in range(4):
        assert found.alphas[fold] == least(fold, by_sample=True)
        assert by_cell.alphas[fold] == least(fold, by_sample=False)
    assert found.alpha == least(None, by_sample=True) and by_cell.alpha == least(None, by_sample=False)
    assert (found.alphas != by_cell.alphas).any() or found.alpha != by_cell.alpha
