"""States are dealt anew to whole samples only, and no cell is held against cells of its own sample."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy import stats

from scflyformer.perturbation._cells import EmbeddedCells, StateGroup
from scflyformer.perturbation._permutation_test import permutation_p_values, permuted_shifts
from scflyformer.perturbation._state_samples import PARTS, state_samples

WIDTH = 4


def made(of_start: list[str], of_goal: list[str], *, every: int = 2, in_parts: bool = False) -> tuple:
    """Return cells of these samples, their group, of which every other start cell is edited, and its summary."""
    samples = np.array([*of_start, *of_goal])
    vectors = np.random.default_rng(0).normal(size=(len(samples), WIDTH)).astype(np.float32)
    cells = EmbeddedCells(np.array([f"c{cell}" for cell in range(len(samples))]), samples, None, vectors)
    start, goal = np.arange(len(of_start)), np.arange(len(of_start), len(samples))
    group = StateGroup("all", start[::every], start, goal, [])
    return cells, group, state_samples(group, cells, in_parts=in_parts)


def each(names: str, n: int = 3) -> list[str]:
    """Return each name ``n`` times."""
    return [name for name in names for _ in range(n)]


MIXED = each("abcxy"), each("defgxy")
"""Three start, four goal samples, and two of both."""


def test_cells_are_summed_by_sample_and_state() -> None:
    cells, group, found = made(*MIXED)
    names = np.unique(cells.samples)
    assert found.n_samples == 9 and len(found.sample) == 11
    for row, (sample, is_goal) in enumerate(zip(found.sample, found.goal, strict=True)):
        inside = group.goal if is_goal else group.start
        own = inside[cells.samples[inside] == names[sample]]
        np.testing.assert_allclose(found.sums[row], cells.vectors[own].astype(float).sum(0))
    assert names[found.own].tolist() == cells.samples[group.cells].tolist()


@pytest.mark.parametrize(
    ("of_start", "of_goal", "ways"),
    [
        ("abc", "def", comb(6, 3)),
        ("abcde", "fghij", 252),
        ("abcxy", "defgxy", 4 * comb(7, 3)),
        ("uvwxyz", "uvwxyz", 64),
        ("a", "bcd", 4),
    ],
)
def test_ways_to_deal_the_states(of_start: str, of_goal: str, ways: int) -> None:
    assert made(each(of_start), each(of_goal))[2].n_ways() == ways


def test_states_are_dealt_to_samples_of_one_state_and_swapped_in_those_of_both() -> None:
    found = made(*MIXED)[2]
    goals = found.permuted_goals(n=400, seed=1)
    assert goals is not None and goals.shape == (401, 11)
    np.testing.assert_array_equal(goals[0], found.goal)
    both = np.isin(found.sample, np.flatnonzero(np.bincount(found.sample) == 2))
    assert both.sum() == 4 and (goals[:, ~both].sum(1) == 4).all()
    for sample in np.unique(found.sample[both]):
        first, second = goals[:, found.sample == sample].T
        assert (first != second).all() and first[1:].mean() == pytest.approx(0.5, abs=0.1)
    assert goals[1:, ~both].mean(0) == pytest.approx(4 / 7, abs=0.1)
    assert len(np.unique(goals, axis=0)) > 100  # of 140 ways
    again, other = found.permuted_goals(n=400, seed=1), found.permuted_goals(n=400, seed=2)
    np.testing.assert_array_equal(again, goals)
    assert other is not None and (other != goals).any()


@pytest.mark.parametrize(
    ("of_start", "of_goal", "tested"),
    [
        ("abcde", "fghij", True),  # 252 ways
        ("abcd", "efgh", False),  # 70
        ("ab", "cdefghijklmnopqrs", False),  # 171 ways, two samples of the start
        ("tuvwxyz", "tuvwxyz", True),  # 128 ways
        ("uvwxyz", "uvwxyz", False),  # 64
        ("a", "b", False),
    ],
)
def test_few_samples_are_not_permuted(of_start: str, of_goal: str, tested: bool) -> None:
    found = made(each(of_start), each(of_goal))[2]
    assert (found.permuted_goals(n=10) is not None) == tested
    assert found.permuted_goals(n=0) is None


def test_weights_give_the_shift_towards_centroids_of_other_samples() -> None:
    """Against centroids made of the cells, permutation by permutation and sample by sample."""
    cells, group, found = made(*MIXED)
    goals = found.permuted_goals(n=5, seed=3)
    assert goals is not None
    weights = found.weights(goals)
    assert weights.shape == (2, 6, 9, 11)
    names, change = np.unique(cells.samples), np.random.default_rng(4).normal(size=WIDTH)
    dots = found.sums @ change
    for number, goal in enumerate(goals):
        called = {(names[sample], bool(true)): bool(now) for sample, true, now in
                  zip(found.sample, found.goal, goal, strict=True)}  # fmt: skip
        by_cell = [called[cells.samples[cell], state] for state, part in ((False, group.start), (True, group.goal))
                   for cell in part]  # fmt: skip
        by_cell = np.array(by_cell)
        for own in np.unique(found.own):
            for place, wanted in enumerate((by_cell, ~by_cell)):
                centroid = cells.vectors[wanted & (cells.samples != names[own])].astype(float).mean(0)
                expected = change @ centroid / np.linalg.norm(centroid)
                assert dots @ weights[place, number, own] == pytest.approx(expected)
    untouched = np.setdiff1d(np.arange(9), found.own)
    assert not weights[:, :, untouched].any()


def test_own_sample_counts_only_where_there_is_no_other() -> None:
    """A goal of the own sample alone is held against nonetheless; a start of the own sample alone is not."""
    _, _, found = made(each("x"), each("x"))
    to_goal, to_start = (part[0, found.own[0]] for part in found.weights(found.goal[None]))
    assert to_goal[found.goal].all() and not to_goal[~found.goal].any()
    assert np.isnan(to_start).all()
    _, _, several = made(each("xy"), each("x"))
    to_goal, to_start = (part[0] for part in several.weights(several.goal[None]))
    assert to_goal[several.own][:, several.goal].all()
    assert np.isfinite(to_start[several.own]).all()


def test_parts_stand_for_samples_only_where_the_start_is_of_one() -> None:
    cells, group, found = made(["s"] * 95, ["t"] * 5, every=1, in_parts=True)
    assert found.in_parts and found.n_samples == PARTS + 1
    assert (~found.goal).sum() == PARTS and np.ptp(np.bincount(found.own, minlength=PARTS)[:PARTS]) <= 1
    np.testing.assert_allclose(found.sums[~found.goal].sum(0), cells.vectors[group.start].astype(float).sum(0))
    assert found.permuted_goals(n=10) is None
    many = made(each("abcde"), each("fghij"), in_parts=True)[2]
    assert not many.in_parts and many.permuted_goals(n=10) is not None


@pytest.mark.parametrize("in_parts", [False, True])
def test_order_has_no_say(in_parts: bool) -> None:
    start, goal = (["s"] * 40, ["t"] * 5) if in_parts else (each("abcdexy"), each("fghijxy"))
    cells, group, first = made(start, goal, in_parts=in_parts)
    order = np.random.default_rng(1).permutation(len(cells.names))
    place = np.argsort(order)
    moved = EmbeddedCells(cells.names[order], cells.samples[order], None, cells.vectors[order])
    parts = [np.sort(place[part]) for part in (group.cells, group.start, group.goal)]
    again = state_samples(StateGroup("all", *parts, []), moved, in_parts=in_parts)
    np.testing.assert_allclose(again.sums, first.sums, atol=1e-12)
    assert again.goal.tolist() == first.goal.tolist() and again.sample.tolist() == first.sample.tolist()
    assert again.own[np.searchsorted(parts[0], place[group.cells])].tolist() == first.own.tolist()
    if not in_parts:
        np.testing.assert_array_equal(again.permuted_goals(n=9, seed=3), first.permuted_goals(n=9, seed=3))


def p_values(of_start: str, of_goal: str, *, apart: float, n: int, seed: int = 0) -> list[float]:
    """Return p-values of genes, each in cells of its own, of samples that differ; a gene moves all cells about alike.

    ``apart`` is how far it moves them along the difference between the states.
    """
    random, found, n_each = np.random.default_rng(seed), [], 6
    for _ in range(n):
        names = sorted({*of_start, *of_goal})
        own = {name: random.normal(size=8) for name in names}
        samples = np.array([*each(of_start, n_each), *each(of_goal, n_each)])
        state = np.repeat([0, 1], [n_each * len(of_start), n_each * len(of_goal)])
        vectors = np.array([own[name] for name in samples]) + random.normal(size=(len(samples), 8))
        vectors += np.outer(state, 2 * apart * np.eye(8)[1]) + 3 * np.eye(8)[0]
        cells = EmbeddedCells(np.arange(len(samples)).astype(str), samples, None, vectors)
        start, goal = np.flatnonzero(state == 0), np.flatnonzero(state == 1)
        summed = state_samples(StateGroup("all", start, start, goal, []), cells)
        change = random.normal(size=8) + apart * np.eye(8)[1]
        moves = change + 0.3 * random.normal(size=(len(start), 8))
        dots = np.full((1, summed.n_samples, len(summed.goal)), np.nan)
        for sample in np.unique(summed.own):
            dots[0, sample] = (moves[summed.own == sample] @ summed.sums.T).mean(0)
        goals = summed.permuted_goals(n=199, seed=int(random.integers(1 << 30)))
        weights = summed.weights(goals)
        found.append(permutation_p_values(permuted_shifts(dots, weights[0] - weights[1]))[0])
    return found


@pytest.mark.parametrize("pair", [("abcde", "fghij"), ("abcdef", "ghijklmn"), ("stuvwxyz", "stuvwxyz")])
def test_p_values_are_uniform_where_states_mean_nothing(pair: tuple[str, str]) -> None:
    """Whole chain, from embedded cells of samples that differ, with the own sample left out in truth alone."""
    found = p_values(*pair, apart=0.0, n=400)
    assert np.mean(np.array(found) <= 0.05) <= 0.075
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_what_moves_cells_between_the_states_is_found() -> None:
    assert np.median(p_values("abcdef", "ghijkl", apart=3.0, n=40)) < 0.02
