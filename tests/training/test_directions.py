"""Directions on which two halves of a cell agree."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.training import _directions
from scflyformer.training._directions import reliable_directions

N_GENES = 30


def planted(n_cells: int = 1200, *, shift: float = 0.0) -> np.ndarray:
    """Counts whose genes 0 to 9 rise together from cell to cell, while 10 to 29 only count; 20 to 29 loudest."""
    random = np.random.default_rng(0)
    state = random.standard_normal((n_cells, 1))
    rate = np.where(np.arange(N_GENES) < 10, np.exp(0.8 * state), np.where(np.arange(N_GENES) < 20, 1.0, 3.0))
    return random.poisson(rate * (1 + shift * (np.arange(N_GENES) % 2)))


@pytest.fixture
def store(make_store):
    return make_store((700, 500), n_genes=N_GENES, counts=planted(), medians=np.ones(N_GENES, np.float32))[0]


def code(store, fitted):
    from scflyformer.training._halves import value_profiles, whole_counts

    rows = store.rows(np.arange(len(store)))
    return (value_profiles(rows, whole_counts(rows, store.medians), store.medians) - fitted.centre) @ fitted.weights


def test_the_signal_is_found_and_not_the_noise(store):
    fitted = reliable_directions(store, np.arange(len(store)), 1, seed=0)
    size = np.abs(fitted.weights[:, 0])
    assert fitted.weights.shape == (N_GENES, 1) and fitted.weights.dtype == fitted.centre.dtype == np.float32
    assert size[:10].min() > 2 * size[10:].max() and size[:10].mean() > 5 * size[10:].mean()
    assert len(set(np.sign(fitted.weights[:10, 0]))) == 1
    assert fitted.reliability[:10].min() > 2 * fitted.reliability[10:].max() and fitted.reliability.max() <= 1


def test_it_says_more_than_principal_components(store):
    """The planted state is read from one direction better than from the leading component of the same values."""
    from sklearn.decomposition import PCA

    from scflyformer.training._halves import value_profiles, whole_counts

    state = np.log(planted()[:, :10].sum(1) + 1)
    rows = store.rows(np.arange(len(store)))
    values = value_profiles(rows, whole_counts(rows, store.medians), store.medians)
    own = code(store, reliable_directions(store, np.arange(len(store)), 1, seed=0))[:, 0]
    leading = PCA(1, random_state=0).fit_transform(values)[:, 0]
    assert abs(np.corrcoef(own, state)[0, 1]) > abs(np.corrcoef(leading, state)[0, 1])


def test_each_direction_has_the_scale_of_its_signal(store):
    """The one signal there is comes first and is by far the largest; what is left is noise and stays small."""
    fitted = reliable_directions(store, np.arange(len(store)), 6, seed=0)
    within = np.concatenate([part - part.mean(0) for part in np.split(code(store, fitted), [700])]).std(0)
    np.testing.assert_allclose(within, fitted.spread, rtol=0.02, atol=1e-3)
    assert (np.diff(fitted.spread) <= 0).all() and fitted.spread[0] > 5 * fitted.spread[1]


def test_what_data_sets_differ_by_is_no_signal(make_store):
    """The second source has every odd gene doubled: that direction, which varies most, must not lead."""
    counts = np.concatenate([planted(600), planted(1200, shift=1.0)[600:]])
    store, _ = make_store((600, 600), n_genes=N_GENES, counts=counts, medians=np.ones(N_GENES, np.float32))
    size = np.abs(reliable_directions(store, np.arange(1200), 1, seed=0).weights[:, 0])
    assert size[:10].min() > size[10:].max() and size[:10].mean() > 2 * size[10:].mean()


def test_genes_that_were_not_measured(make_store):
    """They weigh nothing where nobody measured them, and their mean is over those who did."""
    panels = np.ones((2, N_GENES), dtype=bool)
    panels[1, 3], panels[:, 8] = False, False
    counts = planted()
    counts[700:, 3] = counts[:, 8] = 0
    store, _ = make_store(
        (700, 500), n_genes=N_GENES, counts=counts, panels=panels, medians=np.ones(N_GENES, np.float32)
    )
    fitted = reliable_directions(store, np.arange(1200), 2, seed=0)
    assert not fitted.weights[8].any() and fitted.centre[8] == fitted.reliability[8] == 0
    alone, _ = make_store((700,), n_genes=N_GENES, counts=counts[:700], medians=np.ones(N_GENES, np.float32))
    rows = alone.rows(np.arange(700))
    assert fitted.centre[3] == pytest.approx(rows.values[rows.tokens == 6].sum() / 700, rel=0.01)


def test_bounds(store, monkeypatch):
    """Of many cells some are used, and of many genes the most reliable."""
    monkeypatch.setattr(_directions, "MOST_CELLS", 900)
    monkeypatch.setattr(_directions, "MOST_GENES", 12)
    fitted = reliable_directions(store, np.arange(len(store)), 4, seed=0)
    assert np.isfinite(fitted.weights).all()
    assert set(np.flatnonzero(fitted.weights.any(1))) == set(np.argsort(-fitted.reliability)[:12])


def test_few_of_many_eigenvectors_are_the_same(store, monkeypatch):
    """The iterative solver for many genes finds what the exact one does."""
    exact = reliable_directions(store, np.arange(len(store)), 3, seed=0).weights
    monkeypatch.setattr(_directions, "_SMALL", 0)
    np.testing.assert_allclose(
        reliable_directions(store, np.arange(len(store)), 3, seed=0).weights[:, 0], exact[:, 0], rtol=1e-3, atol=1e-5
    )


def test_a_pair_of_genes_is_compared_where_both_were_measured(make_store):
    """A second source without the signal's genes does not thin their covariance out."""
    panels = np.ones((2, N_GENES), dtype=bool)
    panels[1, :10] = False
    counts = planted()
    counts[700:, :10] = 0
    ones = np.ones(N_GENES, np.float32)
    both, _ = make_store((700, 500), n_genes=N_GENES, counts=counts, panels=panels, medians=ones)
    alone, _ = make_store((700,), n_genes=N_GENES, counts=counts[:700], medians=ones)
    wide = reliable_directions(both, np.arange(1200), 1, seed=0).weights[:10, 0]
    np.testing.assert_allclose(wide, reliable_directions(alone, np.arange(700), 1, seed=0).weights[:10, 0], rtol=0.1)


def test_the_same_seed_gives_the_same(store):
    first, second, other = (reliable_directions(store, np.arange(900), 3, seed=seed).weights for seed in (0, 0, 1))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
    assert not np.allclose(first, other)
