"""Every family is tuned, scaled and fitted inside the training folds, by the same rule."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from scflyformer.stats._classification import IMPOSSIBLE, softmax
from scflyformer.stats._cross import choose, cross_fit
from scflyformer.stats._families import LOGISTIC, MAJORITY, NEIGHBOURS, PCA_LOGISTIC, SPARSE_LOGISTIC, Family
from scflyformer.stats._linear import LinearHead

FAMILIES = [LOGISTIC, SPARSE_LOGISTIC, PCA_LOGISTIC, NEIGHBOURS, MAJORITY]
every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def _data(n_classes: int = 3, n: int = 240) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    x = rng.normal(size=(n, 6)) + rng.normal(0, 1.2, (n_classes, 6))[y]
    return (x * [1, 2, 3, 1, 1, 0] + [0, 0, 5, 0, 0, 3]).astype(np.float32), y


@every
def test_out_of_fold_logits_come_from_the_other_folds(family: Family) -> None:
    x, y = _data()
    folds = np.random.default_rng(0).integers(0, 4, len(y))
    result = cross_fit(family, x, y, folds, n_classes=3)
    for fold in range(4):
        train = folds != fold
        fitted = family.fit(x[train], y[train], n_classes=3, parameter=result.chosen[fold])
        np.testing.assert_allclose(result.logits[~train], fitted(x[~train]), atol=1e-6)
    assert result.parameter in family.grid
    one = cross_fit(family, x, y, folds, n_classes=3, only=[2])
    np.testing.assert_allclose(one.logits[folds == 2], result.logits[folds == 2], atol=1e-6)
    assert np.isnan(one.logits[folds != 2]).all()
    assert one.parameter == result.chosen[2]


@every
def test_held_out_cells_have_no_part(family: Family) -> None:
    x, y = _data()
    folds = np.arange(len(y)) // 3 % 4
    before = cross_fit(family, x, y, folds, n_classes=3, only=[0])
    shown = np.flatnonzero(folds == 0)[0]
    others = (folds == 0) & (np.arange(len(y)) != shown)
    swapped = np.where(folds == 0, (y + 1) % 3, y)
    after = cross_fit(family, np.where(others[:, None], -100 * x, x), swapped, folds, n_classes=3, only=[0])
    assert after.chosen[0] == before.chosen[0]
    np.testing.assert_allclose(after.logits[shown], before.logits[shown], atol=1e-5)


@every
def test_a_class_of_one_fold_and_two_folds(family: Family) -> None:
    x, y = _data()
    folds = np.arange(len(y)) // 3 % 2
    only_here = (y == 2) & (folds == 1)
    y = np.where((y == 2) & ~only_here, 0, y)
    result = cross_fit(family, x, y, folds, n_classes=3)
    assert (result.logits[folds == 1, 2] <= IMPOSSIBLE).all()
    assert (result.logits[folds == 0, 2] > IMPOSSIBLE).all()
    assert (result.chosen == family.grid[len(family.grid) // 2]).all()


@every
def test_sparse_features_and_a_start_change_little(family: Family) -> None:
    x, y = _data()
    plain = family.fit(x, y, n_classes=3, parameter=family.grid[-1])
    before = family.fit(x, y, n_classes=3, parameter=family.grid[0])
    warm = family.fit(x, y, n_classes=3, parameter=family.grid[-1], start=before)
    thin = family.fit(sp.csr_matrix(x), y, n_classes=3, parameter=family.grid[-1])
    np.testing.assert_allclose(softmax(warm(x)), softmax(plain(x)), atol=0.02)
    np.testing.assert_allclose(softmax(thin(sp.csr_matrix(x))), softmax(plain(x)), atol=0.01)
    assert x[0, 2] == _data()[0][0, 2]  # features are left as they were


def _losses(x: np.ndarray, y: np.ndarray, core: np.ndarray, check: np.ndarray) -> np.ndarray:
    """Return the loss of each cell to check by each number of neighbours."""
    fits = (NEIGHBOURS.fit(x[core], y[core], n_classes=3, parameter=value) for value in NEIGHBOURS.grid)
    return np.array([-np.log(softmax(fit(x[check]))[np.arange(len(check)), y[check]]) for fit in fits])


def _first_minimum(losses: np.ndarray) -> float:
    rises = [place for place in range(1, len(losses)) if losses[place] > losses[place - 1]]
    return NEIGHBOURS.grid[int(np.argmin(losses[: rises[0] if rises else len(losses)]))]


def test_the_number_with_the_least_loss_is_taken() -> None:
    x, y = _data()
    folds = np.arange(len(y)) // 3 % 4
    core, check = np.flatnonzero(folds), np.flatnonzero(folds == 0)
    parameter = choose(NEIGHBOURS, x, y, [(core, check)], 3)
    assert parameter == _first_minimum(_losses(x, y, core, check).mean(axis=1))


def test_every_training_fold_has_a_say_and_samples_weigh_alike() -> None:
    """The number is the one with the least mean over samples of their losses, each inner fold held out in turn."""
    x, y = _data()
    rng = np.random.default_rng(1)
    samples = np.repeat(np.arange(12), [3, 3, 3, 50, 3, 3, 50, 3, 56, 3, 60, 3])
    x = x + np.where(np.isin(samples, [3, 6, 8, 10])[:, None], rng.normal(0, 4, x.shape), 0).astype(np.float32)
    folds = samples % 4
    result = cross_fit(NEIGHBOURS, x, y, folds, n_classes=3, samples=samples)
    by_cell = cross_fit(NEIGHBOURS, x, y, folds, n_classes=3)
    assert (result.chosen != by_cell.chosen).any()
    for fold in range(4):
        losses, who = [], []
        for other in sorted(set(range(4)) - {fold}):
            check = np.flatnonzero(folds == other)
            losses.append(_losses(x, y, np.flatnonzero((folds != fold) & (folds != other)), check))
            who.append(samples[check])
        losses, who = np.concatenate(losses, axis=1), np.concatenate(who)
        by_sample = np.mean([losses[:, who == sample].mean(axis=1) for sample in np.unique(who)], axis=0)
        assert result.chosen[fold] == _first_minimum(by_sample)
        assert by_cell.chosen[fold] == _first_minimum(losses.mean(axis=1))


def test_the_probe_is_linear_and_can_be_kept() -> None:
    x, y = _data()
    assert isinstance(LOGISTIC.fit(x, y, n_classes=3, parameter=0.1), LinearHead)
    assert {len(family.grid) for family in FAMILIES} == {1, 7}


def test_neighbours_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _data()
    fitted = NEIGHBOURS.fit(x[:200], y[:200], n_classes=4, parameter=8.0)
    pca = PCA(5).fit(x[:200])
    oracle = KNeighborsClassifier(8).fit(pca.transform(x[:200]), y[:200]).predict_proba(pca.transform(x[200:]))
    shares = np.bincount(y[:200]) / 200
    np.testing.assert_allclose(softmax(fitted(x[200:]))[:, :3], (8 * oracle + shares) / 9, atol=1e-6)
    few = NEIGHBOURS.fit(x[:5], y[:5], n_classes=3, parameter=64.0)
    assert (few(x).argmax(axis=1) == 0).all()
