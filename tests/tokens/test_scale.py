"""The scale is told from values, counts come back from their logarithm, and what is no expression is refused."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.tokens._scale import ScaleEvidence, are_integers, check_values, rebuild_counts, to_linear

ALL = ("log1p", "linear", "log2(x+1)", "log10(x+1)")


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


LOGS = {"log1p": np.log1p, "log2(x+1)": lambda x: np.log2(1 + x), "log10(x+1)": lambda x: np.log10(1 + x)}


def judge(values, indptr, candidates=ALL):
    evidence = ScaleEvidence("X", candidates)
    evidence.add(values, indptr)
    return evidence.scale()


@pytest.mark.parametrize("lowest", [1, 2, 3])
@pytest.mark.parametrize("target", [1e4, 1e6, 1.0])
def test_counts_come_back_exactly(lowest, target):
    counts, indptr = make_counts(lowest=lowest)
    values = np.log1p(normalise(counts, indptr, target)).astype(np.float32)
    found, rebuilt = rebuild_counts(to_linear(values, "log1p"), indptr)
    assert rebuilt.all()
    np.testing.assert_array_equal(found, counts)


def test_rebuilding_deep_cells():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 20_000, 5000)
    counts[::100] = 1
    indptr = np.arange(0, 5001, 100)
    values = np.log1p(normalise(counts, indptr))
    found, rebuilt = rebuild_counts(to_linear(values, "log1p"), indptr)
    assert rebuilt.all()
    np.testing.assert_array_equal(found, counts)


def test_cells_that_are_no_multiples_keep_their_ratios():
    rng = np.random.default_rng(0)
    linear = rng.lognormal(0, 1, 60)
    linear[:20] = rng.integers(1, 9, 20) * 2.5
    found, rebuilt = rebuild_counts(linear, np.array([0, 20, 20, 60]))
    assert rebuilt.tolist() == [True, True, False]
    np.testing.assert_array_equal(found[:20], np.rint(linear[:20] / 2.5))
    np.testing.assert_allclose(found[20:], linear[20:] / linear[20:].min())


def test_extreme_ratios_stay_finite():
    found, _ = rebuild_counts(np.array([1e-300, 1.0, 1e300]), np.array([0, 3]))
    assert np.isfinite(found.astype(np.float32)).all()


@pytest.mark.parametrize("name", LOGS)
def test_logarithm_is_recognised_by_its_base(name):
    counts, indptr = make_counts()
    values = LOGS[name](normalise(counts, indptr))
    assert judge(values, indptr) == name
    np.testing.assert_array_equal(rebuild_counts(to_linear(values, name), indptr)[0], counts)


@pytest.mark.parametrize("target", [1e4, 500.0, 1.0])
def test_normalised_values_without_a_logarithm(target):
    counts, indptr = make_counts()
    assert judge(normalise(counts, indptr, target), indptr) == "linear"


def test_without_whole_multiples_the_largest_value_decides():
    rng = np.random.default_rng(0)
    values, indptr = rng.lognormal(0, 0.7, 1000), np.arange(0, 1001, 50)
    assert values.max() < 20
    assert judge(values, indptr) == "log1p"
    assert judge(values * 100, indptr) == "linear"


def test_chunks_do_not_matter():
    counts, indptr = make_counts()
    values = LOGS["log2(x+1)"](normalise(counts, indptr))
    evidence = ScaleEvidence("X", ALL)
    for cell in np.random.default_rng(0).permutation(50):
        evidence.add(values[indptr[cell] : indptr[cell + 1]], np.array([0, 0, 40, 40]))
    whole = ScaleEvidence("X", ALL)
    whole.add(values, indptr)
    assert evidence == whole
    assert evidence.scale() == "log2(x+1)"


def test_a_clear_case_needs_one_candidate():
    counts, indptr = make_counts()
    evidence = ScaleEvidence("X")
    evidence.add(np.log1p(normalise(counts, indptr)), indptr)
    assert evidence.clear


def test_counts_beside_log_values():
    counts, indptr = make_counts()
    values = np.log1p(normalise(counts, indptr))
    values[indptr[7] : indptr[9]] = counts[indptr[7] : indptr[9]]
    with pytest.raises(ValueError, match=r"layers\['a'\] mixes 2 cells of whole counts with 48 cells of log values"):
        evidence = ScaleEvidence("layers['a']", ALL)
        evidence.add(values, indptr)
        evidence.scale()


def test_high_counts_beside_log2_values():
    counts, indptr = make_counts()
    values = LOGS["log2(x+1)"](normalise(counts, indptr))
    values[:40] = 50.0
    with pytest.raises(ValueError, match=r"X mixes some cells of whole counts with 49 cells of log values"):
        judge(values, indptr)


def test_a_cell_left_whole_by_its_size_factor():
    """A cell whose sum is the target keeps its counts when it is normalised."""
    counts, indptr = make_counts()
    values = normalise(counts, indptr, target=1000)
    values[:40] = counts[:40]
    assert judge(values, indptr) == "linear"


def test_cells_of_ones_tell_nothing():
    counts, indptr = make_counts()
    values = normalise(counts, indptr).astype(np.float64)
    values[:40] = 1.0
    assert judge(values, indptr) == "linear"
    values = np.log1p(normalise(counts, indptr))
    values[:40] = 1.0
    assert judge(values, indptr) == "log1p"


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
