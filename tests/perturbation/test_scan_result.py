"""What a scan finds of each copy, and of the copies of a sample together, is what single cells give."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scflyformer._running import Running
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._infer import embed_rows
from scflyformer.perturbation._cells import EmbeddedCells, Embedder, StateGroup
from scflyformer.perturbation._edit_plan import plan_edits
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._make_readouts import make_readouts
from scflyformer.perturbation._null_sets import NullDraw
from scflyformer.perturbation._permutation_test import permuted_shifts
from scflyformer.perturbation._results import edits_of_groups, permutation_weights
from scflyformer.perturbation._scan_result import noise_floor, run_scan, sample_weights
from scflyformer.perturbation._shift import unit_vectors


def test_weighted_sums_are_means_over_sample_means() -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"slot": random.integers(0, 6, 200), "sample": random.choice(["b", "a", "c"], 200)})
    table["value"] = random.normal(size=200)
    table = table[(table["slot"] != 2) | (table["sample"] == "b")]  # one of a single sample
    weight = sample_weights(table["slot"].to_numpy(), table["sample"].to_numpy())
    summed = np.bincount(table["slot"], weights=weight * table["value"])
    expected = table.groupby(["slot", "sample"])["value"].mean().groupby("slot").mean()
    np.testing.assert_allclose(summed, expected)


@pytest.mark.parametrize("of", ["samples of one state", "samples of both", "some of each"])
@pytest.mark.parametrize("code", [True, False])
def test_shifts_in_truth_are_the_first_of_the_permuted_ones(
    make_network: Callable, make_rows: Callable, of: str, code: bool
) -> None:
    """Two ways to the same numbers: copy by copy towards centroids, and by dot products with sums over samples."""
    network = make_network(**({"code_size": 4, "n_directions": 6} if code else {}))
    rows = make_rows([20] * 96)
    state, number = np.repeat([0, 1], 48), np.tile(np.arange(8), 12)
    apart = {
        "samples of one state": np.full(96, True),
        "samples of both": np.full(96, False),
        "some of each": number > 2,
    }
    samples = np.where(apart[of], np.char.add(np.array(["s", "t"])[state], number.astype(str)), number.astype(str))
    embedder = Embedder(network, "cell", Running("cpu", "float32"))
    cells = EmbeddedCells(np.arange(96).astype(str), samples, rows, embedder.embed(rows))
    groups = [StateGroup("all", np.arange(0, 48, 2), np.arange(48), np.arange(48, 96), []),
              StateGroup("few", np.arange(0, 20), np.arange(0, 20), np.arange(48, 60), [])]  # fmt: skip
    request: Any = SimpleNamespace(clock=None, classifier=None, centroid="mean", downstream=0, screens=False,
                                   n_label=20, seed=0)  # fmt: skip
    model: Any = SimpleNamespace(pooling="cell", hidden_size=16, network=lambda: network, has_cell_token=True)
    readouts = make_readouts(model, groups, cells, request, states=["goal", "start"], pooling="cell")
    names = np.array([f"g{n}" for n in range(30)], dtype=object)
    sets = [GeneSet(names[n], (N_SPECIAL + n,)) for n in (3, 8)]
    ranked = rows.take(np.concatenate([group.cells for group in groups]))
    plan = plan_edits(ranked, groups, sets, NullDraw("delete", 3, 0), names=names)
    result = run_scan(embedder, cells, plan, readouts, None)
    assert (result.linear is None) == (not code)
    for at, edits in enumerate(edits_of_groups(plan, result, readouts)):
        found = dict(zip(readouts.columns, edits.effects.shift.T, strict=True))
        weights = readouts.states[at].weights(readouts.states[at].goal[None])
        parts = {"shift": (edits.dots, weights[0]), "shift_start": (edits.dots, weights[1]),
                 "net_shift": (edits.dots, weights[0] - weights[1])}  # fmt: skip
        if code:
            parts["net_shift_linear"] = edits.linear, weights[0] - weights[1]
            parts["net_shift_transformer"] = edits.dots - edits.linear, weights[0] - weights[1]
        assert set(parts) == set(found)
        for name, (dots, turned) in parts.items():
            np.testing.assert_allclose(permuted_shifts(dots, turned)[0], found[name], atol=1e-6)
            assert np.abs(found[name]).max() > 1e-4, name
    assert permutation_weights(readouts, 0) is not None and readouts.permuted[0].shape[0] == 21

    taken = rows.take(plan.cells[plan.copies.cells])
    tokens = np.array([plan.table.sets[which][0] for which in plan.copies.chosen])
    left = taken.select(taken.tokens != np.repeat(tokens, taken.lengths))
    after = embed_rows(network, left, pooling="cell", running=Running("cpu", "float32"))
    moves = unit_vectors(after.astype(float)) - unit_vectors(cells.vectors[plan.cells[plan.copies.cells]].astype(float))
    size = pd.Series(np.linalg.norm(moves, axis=1))
    means = size.groupby([plan.slot, samples[plan.cells[plan.copies.cells]]]).mean().groupby(level=0).mean()
    np.testing.assert_allclose(result.size, means, atol=1e-6)


def test_noise_is_how_far_a_cell_embedded_alone_comes_out(make_network: Callable, make_rows: Callable) -> None:
    network, rows = make_network(), make_rows([8, 12, 20])
    embedder = Embedder(network, "cell", Running("cpu", "float32"))
    vectors, goal = embedder.embed(rows), np.random.default_rng(0).normal(size=16)
    cells = EmbeddedCells(np.arange(3).astype(str), np.array(["s"] * 3), rows, vectors)
    assert noise_floor(embedder, cells, np.arange(3), goal) < 1e-6
    off = vectors.copy()
    off[1] += 0.5
    moved = EmbeddedCells(cells.names, cells.samples, rows, off)
    before, after = (unit_vectors(part[[1]].astype(float))[0] @ goal / np.linalg.norm(goal) for part in (off, vectors))
    assert noise_floor(embedder, moved, np.arange(3), goal) == pytest.approx(abs(after - before), abs=1e-6)
    assert noise_floor(embedder, moved, np.array([0, 2]), goal) < 1e-6
