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


def code(store, directions, centre):
    from scflyformer.training._halves import value_profiles, whole_counts

    rows = store.rows(np.arange(len(store)))
    return (value_profiles(rows, whole_counts(rows, store.medians), store.medians) - centre) @ directions


def test_the_signal_is_found_and_not_the_noise(store):
    directions, centre = reliable_directions(store, np.arange(len(store)), 1, seed=0)
    size = np.abs(directions[:, 0])
    assert directions.shape == (N_GENES, 1) and directions.dtype == centre.dtype == np.float32
    assert size[:10].min() > 2 * size[10:].max() and size[:10].mean() > 5 * size[10:].mean()
    assert len(set(np.sign(directions[:10, 0]))) == 1


def test_it_says_more_than_principal_components(store):
    """The planted state is read from one direction better than from the leading component of the same values."""
    from sklearn.decomposition import PCA

    from scflyformer.training._halves import value_profiles, whole_counts

    state = np.log(planted()[:, :10].sum(1) + 1)
    rows = store.rows(np.arange(len(store)))
    values = value_profiles(rows, whole_counts(rows, store.medians), store.medians)
    own = code(store, *reliable_directions(store, np.arange(len(store)), 1, seed=0))[:, 0]
    leading = PCA(1, random_state=0).fit_transform(values)[:, 0]
    assert abs(np.corrcoef(own, state)[0, 1]) > abs(np.corrcoef(leading, state)[0, 1])


def test_variance_is_one_on_average(store):
    """And no direction is left with next to nothing of the one signal there is."""
    found = code(store, *reliable_directions(store, np.arange(len(store)), 6, seed=0)).var(0)
    assert found.mean() == pytest.approx(1, abs=0.1)
    assert found.min() > 0.05


def test_what_data_sets_differ_by_is_no_signal(make_store):
    """The second source has every odd gene doubled: that direction, which varies most, must not lead."""
    counts = np.concatenate([planted(600), planted(1200, shift=1.0)[600:]])
    store, _ = make_store((600, 600), n_genes=N_GENES, counts=counts, medians=np.ones(N_GENES, np.float32))
    size = np.abs(reliable_directions(store, np.arange(1200), 1, seed=0)[0][:, 0])
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
    directions, centre = reliable_directions(store, np.arange(1200), 2, seed=0)
    assert np.abs(directions[8]).max() < 1e-6 and centre[8] == 0
    alone, _ = make_store((700,), n_genes=N_GENES, counts=counts[:700], medians=np.ones(N_GENES, np.float32))
    rows = alone.rows(np.arange(700))
    assert centre[3] == pytest.approx(rows.values[rows.tokens == 6].sum() / 700, rel=0.01)


def test_bounds(store, monkeypatch):
    """Of many cells some are used, and of many genes the most often expressed."""
    monkeypatch.setattr(_directions, "MOST_CELLS", 900)
    monkeypatch.setattr(_directions, "MOST_GENES", 12)
    directions, _ = reliable_directions(store, np.arange(len(store)), 4, seed=0)
    assert np.isfinite(directions).all() and np.count_nonzero(directions.any(1)) == 12


def test_the_same_seed_gives_the_same(store):
    first, second, other = (reliable_directions(store, np.arange(900), 3, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-5)
    assert not np.allclose(first, other)
