"""Probes learn from training cells alone; resampled scores equal the plain ones where nothing is resampled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, r2_score

N = 240


@pytest.fixture
def cells():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, N)
    libraries = np.array([f"library {number}" for number in np.arange(N) % 8])
    x = np.eye(3)[labels] * 4 + random.normal(size=(N, 3))
    return (
        x.astype(np.float32),
        labels,
        libraries,
        np.flatnonzero(np.arange(N) % 8 < 6),
        np.flatnonzero(np.arange(N) % 8 >= 6),
    )


def test_the_first_row_is_the_score():
    from benchmarks.lib.resamples import Libraries, Resamples

    random = np.random.default_rng(1)
    truth, predicted = random.integers(0, 4, N), random.integers(0, 4, N)
    x, y = random.normal(size=(2, N))
    for draws in (Resamples(np.arange(N), n_boot=20, unit="cells"), Libraries(np.arange(N) % 12)):
        np.testing.assert_allclose(draws.mean(truth == predicted)[0], np.mean(truth == predicted))
        np.testing.assert_allclose(draws.macro_f1(truth, predicted)[0], f1_score(truth, predicted, average="macro"))
        np.testing.assert_allclose(draws.r2(x, x + y)[0], r2_score(x, x + y))
    np.testing.assert_allclose(draws.spearman(x, y)[0], spearmanr(x, y).statistic)


def test_each_library_by_itself():
    """Twelve libraries, in the order of their names; what they contribute to R² has R² as its mean."""
    from benchmarks.lib.resamples import Libraries

    random = np.random.default_rng(0)
    code = np.arange(N) % 12
    draws, values = Libraries(code), random.normal(size=N)
    assert draws.unit == "libraries" and draws.counts.shape == (13, 12)
    order = np.argsort(np.arange(12).astype(str))
    by_hand = [values[code == library].mean() for library in order]
    np.testing.assert_allclose(draws.mean(values)[1:], by_hand, rtol=1e-5, atol=1e-7)
    truth = random.normal(size=N)
    for scores in (draws.r2(truth, values), draws.spearman(truth, values)):
        np.testing.assert_allclose(scores[1:].mean(), scores[0])
    classes, called = random.integers(0, 4, N), random.integers(0, 5, N)
    scores = draws.macro_f1(classes, called)[1:]
    at = code == order[3]
    has = np.unique(classes[at])
    assert scores[3] == pytest.approx(f1_score(classes[at], called[at], labels=has, average="macro", zero_division=0))


def test_units_are_resampled_whole():
    from benchmarks.lib.resamples import Resamples

    types = np.repeat(np.arange(9), 10)
    draws, values = Resamples(types, n_boot=50, unit="types"), np.random.default_rng(0).normal(size=90)
    assert draws.counts.shape == (51, 9) and (draws.counts.sum(axis=1) == 9).all()
    by_hand = [np.repeat(values, draws.counts[row][types].astype(int)).mean() for row in range(51)]
    np.testing.assert_allclose(draws.mean(values), by_hand, rtol=1e-5, atol=1e-7)


def test_probe_labels(cells):
    from benchmarks.pretraining.probes import probe_labels

    x, labels, libraries, train, test = cells
    found, penalty = probe_labels({"a": x}, labels, libraries, train, test)
    assert np.mean(found == labels[test]) > 0.9 and penalty > 0
    hidden = labels.copy()
    hidden[test] = 0
    again, _ = probe_labels({"a": sparse.csr_matrix(x)}, hidden, libraries, train, test)
    assert np.mean(found == again) == 1, "labels of test cells have no part in it, nor has the format"


def test_probe_age_is_ridge_with_a_chosen_penalty(cells):
    from benchmarks.pretraining.probes import probe_age

    x, _, libraries, train, test = cells
    target = x @ [1.0, -2.0, 0.5] + 3
    found, alpha = probe_age({"a": x, "b": sparse.csr_matrix(x[:, :1])}, target, libraries, train, test)
    np.testing.assert_allclose(found, target[test], atol=0.02)
    assert alpha < 1e-3
    target[test] = 0
    np.testing.assert_allclose(probe_age({"a": x}, target, libraries, train, test)[0].std(), found.std(), rtol=0.01)


@pytest.mark.parametrize("probe", ["probe_labels", "probe_age"])
def test_components_are_scaled_as_a_whole_and_genes_one_by_one(cells, probe, monkeypatch):
    from benchmarks.pretraining import probes as _tasks

    monkeypatch.setattr(_tasks, "GRID", (0.003,))  # so that the penalty is felt
    monkeypatch.setattr(_tasks, "ALPHAS", np.array([0.3]))
    x, labels, *split = cells
    random = np.random.default_rng(3)
    x = (x + random.normal(0, 2, x.shape)) * [10, 1, 0.1]

    def found(blocks):
        return getattr(_tasks, probe)(blocks, labels, *split)[0].astype(float)

    turned, wider = x @ np.linalg.qr(random.normal(size=(3, 3)))[0], x * [1, 10, 100]
    whole, each = found({"pca": x}), found({"expression": sparse.csr_matrix(x)})
    np.testing.assert_allclose(found({"pca": 1000 * turned}), whole, atol=1e-3)
    np.testing.assert_allclose(found({"expression": wider}), each, atol=1e-3)
    assert np.abs(whole - each).max() > 0.05
    both, other = ({"pca": a, "expression": b} for a, b in ((x, wider), (5 * turned, x)))
    np.testing.assert_allclose(found(both), found(other), atol=1e-3)


def test_neighbours_are_of_other_libraries():
    from benchmarks.pretraining.probes import neighbour_agreement

    x = np.array([[0.0], [0.1], [5.0], [5.1], [0.05], [5.05], [0.0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1, 0, 1, 1])
    libraries = np.array(["a", "b", "a", "b", "t", "t", "t"])
    train, test = np.arange(4), np.arange(4, 7)
    share = neighbour_agreement({"x": x}, labels, libraries, train, test, k=2)
    np.testing.assert_array_equal(share, [1, 1, 0])


def test_joined_blocks_weigh_the_same():
    from benchmarks.pretraining.probes import neighbour_agreement

    random = np.random.default_rng(2)
    labels = np.tile([0, 1], 60)
    good = labels[:, None] + 0.01 * random.normal(size=(120, 1))
    libraries = np.where(np.arange(120) < 80, "train", "test")
    where = np.arange(80), np.arange(80, 120)
    loud = 1e-3 * random.normal(size=(120, 1))
    joined = neighbour_agreement({"good": good, "loud": loud}, labels, libraries, *where)
    scaled = neighbour_agreement({"good": good * 1e-3, "loud": loud * 1e3}, labels, libraries, *where)
    np.testing.assert_allclose(joined, scaled)
    assert joined.mean() > 0.9
