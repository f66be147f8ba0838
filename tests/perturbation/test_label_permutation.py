"""Permuted states keep their number of samples, stay within samples that hold both, and do not depend on order."""

from __future__ import annotations

import numpy as np

from scflyformer.perturbation._label_permutation import permuted_labels


def cells(mixed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sixty cells of six samples, each of one state or each of both."""
    rng = np.random.default_rng(0)
    samples = np.repeat([f"s{number}" for number in range(6)], 10)
    goal = np.tile([False, True], 30) if mixed else np.repeat([False, True], 30)
    return rng.normal(size=(60, 4)), goal, samples, np.array([f"c{cell}" for cell in range(60)])


def test_whole_samples_change_state() -> None:
    vectors, goal, samples, names = cells(mixed=False)
    found = permuted_labels(vectors, goal, samples, names, np.arange(30), n=50, seed=0)
    assert (
        found is not None
        and found.goals.shape == (51, 6)
        and list(found.goals[0]) == [False] * 3 + [True] * 3
        and (found.goals.sum(1) == 3).all()
    )
    assert list(found.goals[0]) == [False] * 3 + [True] * 3 and len(np.unique(found.goals, axis=0)) > 10
    np.testing.assert_allclose(found.sums[2], vectors[20:30].sum(0))
    assert list(found.sample) == [0] * 10 + [1] * 10 + [2] * 10


def test_cells_change_state_within_samples_that_hold_both() -> None:
    vectors, goal, samples, names = cells(mixed=True)
    found = permuted_labels(vectors, goal, samples, names, np.flatnonzero(~goal), n=30, seed=0)
    assert found is not None
    # units are ordered by sample; each keeps its number of goal chunks in every permutation
    chunks = [{(sample, state, crc) for sample, state, crc in zip(samples, goal, found_chunks(names), strict=True)}]
    sizes = [sum(1 for sample, _, _ in chunks[0] if sample == name) for name in np.unique(samples)]
    goals = [sum(1 for sample, state, _ in chunks[0] if sample == name and state) for name in np.unique(samples)]
    for part, n_goal in zip(np.split(found.goals, np.cumsum(sizes)[:-1], axis=1), goals, strict=True):
        assert (part.sum(1) == n_goal).all()


def found_chunks(names: np.ndarray) -> list[int]:
    """The chunk of each cell."""
    from scflyformer.perturbation._label_permutation import _chunks_by_name

    return _chunks_by_name(names, 0).tolist()


def test_order_has_no_say() -> None:
    vectors, goal, samples, names = cells(mixed=True)
    order = np.random.default_rng(1).permutation(60)
    first = permuted_labels(vectors, goal, samples, names, np.arange(60), n=9, seed=3)
    again = permuted_labels(vectors[order], goal[order], samples[order], names[order], np.argsort(order), n=9, seed=3)
    assert first is not None and again is not None
    np.testing.assert_array_equal(first.goals, again.goals)
    np.testing.assert_array_equal(first.sample, again.sample)
    np.testing.assert_allclose(first.sums, again.sums)


def test_nothing_to_permute() -> None:
    vectors, goal, samples, names = cells(mixed=False)
    assert permuted_labels(vectors, goal, samples, names, np.arange(30), n=0, seed=0) is None
    few = np.isin(samples, ["s0", "s5"])
    assert permuted_labels(vectors[few], goal[few], samples[few], names[few], np.arange(10), n=5, seed=0) is None
