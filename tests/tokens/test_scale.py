"""Each cell's scale is found from its own values, counts come back from a logarithm, and no other cell has a say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.tokens._scale import (
    COUNTS,
    LINEAR,
    LOG1P,
    NO_EVIDENCE,
    SCALES,
    are_integers,
    check_values,
    read_cells,
    undo,
    whole_multiples,
)


def make_counts(n_cells=50, n_genes=40, seed=0, lowest=1):
    """Return counts and row pointer; the smallest count of each cell is ``lowest``."""
    rng = np.random.default_rng(seed)
    counts = rng.negative_binomial(1, 0.1, (n_cells, n_genes)) + lowest
    counts[:, 0] = lowest
    counts[:, 1] = lowest + 1  # no common divisor
    return counts.ravel(), np.arange(0, n_cells * n_genes + 1, n_genes)


def normalise(counts, indptr, target=1e4):
    sums = np.add.reduceat(counts, indptr[:-1])
    return (counts * np.repeat(target / sums, np.diff(indptr))).astype(np.float32)


PICTURES = {
    "log1p": np.log1p,
    "linear": lambda x: x,
    "log2(x+1)": lambda x: np.log1p(x) / np.log(2),
    "log10(x+1)": lambda x: np.log1p(x) / np.log(10),
    "sqrt": np.sqrt,
    "log1p twice": lambda x: np.log1p(np.log1p(x)),
}


def scales(found):
    return [SCALES[number] if number != NO_EVIDENCE else None for number in found.scale]


@pytest.mark.parametrize("lowest", [1, 2, 3])
@pytest.mark.parametrize("target", [1e4, 1e6, 1.0])
@pytest.mark.parametrize("name", PICTURES)
def test_counts_come_back_exactly(lowest, target, name):
    counts, indptr = make_counts(lowest=lowest)
    found = read_cells(PICTURES[name](normalise(counts, indptr, target)).astype(np.float32), indptr)
    factor = found.counts[::40] / counts[::40]
    left_whole = factor > 1  # by a size factor that is a whole number
    assert set(np.array(scales(found))[~left_whole]) == {name} and (name == "linear" or not left_whole.any())
    assert found.rebuilt.all()
    np.testing.assert_array_equal(found.counts, counts * np.repeat(factor, 40))


def test_deep_cells():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20_000, 5000)
    counts[::100] = 1
    indptr = np.arange(0, 5001, 100)
    found = read_cells(np.log1p(normalise(counts, indptr)), indptr)
    assert found.rebuilt.all()
    np.testing.assert_array_equal(found.counts, counts)


def test_whole_multiples_and_how_much_they_say():
    rng = np.random.default_rng(0)
    linear = rng.lognormal(0, 1, 60)
    linear[:20] = rng.integers(1, 9, 20) * 2.5
    linear[20:40] = np.arange(1, 21) * 1.5 + np.linspace(0, 0.01, 20)
    found, evidence = whole_multiples(linear, np.array([0, 20, 40, 60]))
    assert evidence[0] > 100 > evidence[1] > 0 and evidence[2] == -np.inf
    np.testing.assert_array_equal(found[:20], np.rint(linear[:20] / 2.5))
    np.testing.assert_allclose(found[40:], linear[40:] / linear[40:].min())


@pytest.mark.parametrize("n_kinds", [2, 3])
@pytest.mark.parametrize("name", ["linear", "log1p"])
def test_cells_of_few_different_values(name, n_kinds):
    """One or two ratios are whole by chance on many scales; the true one is closest."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(500):
        counts = np.repeat(np.arange(1, n_kinds + 1), rng.integers(1, 6, n_kinds))
        values = PICTURES[name]((counts * rng.uniform(1, 12)).astype(np.float32))
        found = read_cells(values.astype(np.float32), np.array([0, len(counts)]))
        wrong += scales(found) != [name]
    assert wrong <= (10 if n_kinds == 2 else 1)


def test_extreme_ratios_stay_finite():
    found = read_cells(np.array([1e-300, 1.5, 1e300]), np.array([0, 3]))
    assert np.isfinite(found.counts.astype(np.float32)).all()


def soup(counts, indptr, rng):
    """Take an ambient share off every gene, as SoupX does."""
    n_genes = int(np.diff(indptr)[0])
    share = np.tile(rng.uniform(0, 0.2, n_genes), len(indptr) - 1)
    return (counts * (1 - share)).astype(np.float32)


def with_fractions(counts, indptr, rng):
    """Split a tenth of the counts between genes, as an EM does."""
    split = rng.random(len(counts)) < 0.1
    return np.where(split, counts + rng.choice([0.5, 1 / 3], len(counts)), counts).astype(np.float32)


@pytest.mark.parametrize("make", [soup, with_fractions])
def test_decimals_with_and_without_a_logarithm(make):
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(0.4, 0.1, (40, 400)) + 1
    indptr = np.arange(0, 16_001, 400)
    decimals = make(counts.ravel(), indptr, rng)
    plain, logged = read_cells(decimals, indptr), read_cells(np.log1p(normalise(decimals, indptr)), indptr)
    assert (plain.scale == LINEAR).all() and (logged.scale == LOG1P).all()
    assert not plain.rebuilt.any() and not logged.rebuilt.any()
    np.testing.assert_array_equal(plain.counts, decimals)
    np.testing.assert_allclose(logged.counts, normalise(decimals, indptr), rtol=1e-5)


@st.composite
def mixtures(draw):
    """Cells on scales of their own, as values and row pointer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cells = []
    for _ in range(draw(st.integers(1, 12))):
        counts = rng.negative_binomial(0.5, 0.1, draw(st.integers(0, 60))) + draw(st.integers(1, 2))
        kind = draw(st.sampled_from(["counts", "soup", "fractions", *PICTURES]))
        if not len(counts):
            cells.append(np.empty(0, np.float32))
            continue
        whole = np.array([0, len(counts)])
        decimal = {"soup": soup, "fractions": with_fractions}.get(kind)
        if decimal is not None:
            counts = decimal(counts, whole, rng)
        elif kind != "counts":
            target = draw(st.sampled_from([1.0, 500.0, 1e4, 1e6, float(counts.sum())]))
            counts = PICTURES[kind](normalise(counts, whole, target))
        if decimal is not None and draw(st.booleans()):
            counts = np.log1p(normalise(counts, whole))
        cells.append(counts.astype(np.float32))
    return cells


@given(mixtures(), st.randoms(use_true_random=False))
def test_no_other_cell_has_a_say(cells, random):
    """Any cells, in any order and company, are read as each is by itself."""
    chosen = random.sample(range(len(cells)), random.randint(1, len(cells)))
    values = np.concatenate([cells[cell] for cell in chosen])
    together = read_cells(values, np.concatenate([[0], np.cumsum([len(cells[cell]) for cell in chosen])]))
    start = 0
    for place, cell in enumerate(chosen):
        alone = read_cells(cells[cell], np.array([0, len(cells[cell])]))
        np.testing.assert_array_equal(together.counts[start : start + len(cells[cell])], alone.counts)
        assert together.scale[place] == alone.scale[0] and together.rebuilt[place] == alone.rebuilt[0]
        start += len(cells[cell])


@given(mixtures(), st.randoms(use_true_random=False))
def test_the_order_of_genes_has_no_say(cells, random):
    for cell in cells:
        order = np.array(random.sample(range(len(cell)), len(cell)), dtype=int)
        whole = np.array([0, len(cell)])
        straight, shuffled = read_cells(cell, whole), read_cells(cell[order], whole)
        np.testing.assert_array_equal(shuffled.counts, straight.counts[order])
        assert shuffled.scale[0] == straight.scale[0]


def test_cells_of_equal_values_fit_every_scale():
    found = read_cells(np.array([0.7, 0.7, 1.0, 1.0, 2.5]), np.array([0, 2, 4, 4, 5]))
    assert scales(found) == [None] * 4
    assert found.rebuilt.all()
    assert len(set(found.counts[:2])) == 1


def test_a_cell_left_whole_by_its_size_factor():
    counts, indptr = make_counts()
    values = normalise(counts, indptr, target=1000)
    values[:40] = counts[:40]
    assert scales(read_cells(values, indptr)) == ["counts"] + ["linear"] * 49


def test_undoing_each_scale():
    indptr = np.array([0, 2, 4, 6])
    found = undo(np.array([1.0, 2, 1, 2, -1, np.nan]), indptr, np.array([COUNTS, LOG1P, NO_EVIDENCE]))
    np.testing.assert_allclose(found[:4], [1, 2, np.expm1(1), np.expm1(2)])
    assert found[4] == -1 and np.isnan(found[5])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, r"X holds missing values \(NaN\)"),
        (np.inf, "X holds infinite values"),
        (-np.inf, "X holds infinite values"),
        (-0.5, r"negative values \(down to -0.5\): it looks scaled or z-scored.*Pass layer="),
    ],
)
def test_no_expression(bad, message):
    with pytest.raises(ValueError, match=message):
        check_values(np.array([1.0, bad, 2.0]), where="X")


def test_no_numbers():
    with pytest.raises(ValueError, match="X holds values of type"):
        check_values(np.array(["a"]), where="X")


def test_negative_integers():
    with pytest.raises(ValueError, match="negative"):
        check_values(np.array([1, -3]), where="X")


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "f8", "?"])
def test_counts_of_any_type(dtype):
    values = np.array([1, 1, 1], dtype=dtype)
    check_values(values, where="X")
    assert are_integers(values)


def test_fractions_are_no_integers():
    assert not are_integers(np.array([1.0, 2.5]))
