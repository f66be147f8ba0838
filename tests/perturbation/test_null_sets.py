"""Null genes stand where the tested gene stands, and are no more than a twentieth of those there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from scflyformer import _log
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._gene_sets import GeneSet, sets_of_one
from scflyformer.perturbation._null_sets import (
    CALIPER,
    NullDraw,
    draw_null_sets,
    gene_features,
    gene_profile,
    match_nulls,
    most_nulls,
    token_sizes,
    warn_of_few,
)

N_TOKENS = 30 + N_SPECIAL


def test_gene_profile_counts_cells_and_relative_ranks() -> None:
    """Detection is over all cells, rank over those that hold the gene; a lone token ranks first."""
    detection, rank = gene_profile(np.array([0, 3, 5, 6, 6]), np.array([2, 0, 1, 0, 2, 2]), 4)
    assert detection.tolist() == [0.5, 0.25, 0.75, 0.0]
    assert rank.tolist() == pytest.approx([0.25, 1.0, 1 / 3, 1.0])


@pytest.mark.parametrize("kind", ["delete", "overexpress"])
@pytest.mark.parametrize("sized", [True, False])
def test_genes_are_matched_by_detection_rank_and_size_of_the_move(make_rows: Callable, kind: str, sized: bool) -> None:
    """A gene's own values count where it is edited in the cells that hold it."""
    rows = make_rows([20, 12, 7, 25, 25])
    sizes = np.random.default_rng(0).uniform(0.5, 2, N_TOKENS) if sized else None
    found = gene_features(rows, N_TOKENS, NullDraw(kind, 5, 0, sizes))
    table = pd.DataFrame({"token": rows.tokens, "value": rows.values})
    values = table.groupby("token")["value"].mean()
    detection, rank = gene_profile(rows.indptr, rows.tokens, N_TOKENS)
    np.testing.assert_allclose(np.sin(found[:, 0]) ** 2, detection)
    np.testing.assert_array_equal(found[:, 1], rank)
    for token, value in values.items():
        move = (value if kind == "delete" else 1.0) * (1.0 if sizes is None else sizes[token])
        assert found[token, 2] == pytest.approx(np.log(move), rel=1e-5)
    assert np.isfinite(found).all()


def test_match_takes_the_nearest_within_the_caliper() -> None:
    """Against a table; the same from candidates in any order, and the target is never among them."""
    features = np.random.default_rng(0).normal(size=(1000, 3)) * [1, 10, 0.1]
    candidates = np.setdiff1d(np.arange(1000), [7, 8, 9])
    scaled = (features - features[7]) / features[candidates].std(0)
    for target in (7, 20):
        scaled = (features - features[target]) / features[candidates[candidates != target]].std(0)
        table = pd.DataFrame({"far": (scaled**2).sum(1), "most": np.abs(scaled).max(1)}).loc[candidates]
        near = table[table["most"] <= CALIPER].drop(index=target, errors="ignore").sort_values("far")
        for n in (5, 30, 500):
            drawn = match_nulls(features, target, candidates, n)
            expected = near.index[: min(n, 49)]  # 5 % of the 997, or 996
            assert drawn.tolist() == sorted(expected)
            np.testing.assert_array_equal(match_nulls(features, target, candidates[::-1], n), drawn)
    assert 30 < len(near)


def test_match_takes_none_that_stand_apart_in_any_feature() -> None:
    features = np.random.default_rng(0).normal(size=(200, 3))
    features[0] = [0, 0, 5]
    assert len(match_nulls(features, 0, np.arange(200), 50)) == 0
    features[0] = 0
    assert 10 < len(match_nulls(features, 0, np.arange(200), 50)) <= 20


def test_match_takes_what_there_is() -> None:
    """Features that are all alike tell nobody apart."""
    same = np.ones((4, 3))
    assert match_nulls(same, 1, np.arange(4), 9).tolist() == [0, 2, 3]
    assert not len(match_nulls(same, 1, np.array([1]), 9)) and not len(match_nulls(same, 1, np.arange(4), 0))


@pytest.mark.parametrize(("n_candidates", "most"), [(10, 20), (400, 20), (420, 21), (3000, 150)])
def test_no_more_than_a_twentieth_of_the_candidates_or_twenty(n_candidates: int, most: int) -> None:
    assert most_nulls(n_candidates) == most
    found = match_nulls(np.zeros((n_candidates + 1, 3)), 0, np.arange(1, n_candidates + 1), 10_000)
    assert len(found) == min(most, n_candidates)


@pytest.mark.parametrize("exclude_tested", [True, False])
def test_tested_genes_are_drawn_only_if_asked(make_rows: Callable, exclude_tested: bool) -> None:
    rows, tested = make_rows([22] * 40), np.arange(N_SPECIAL, N_SPECIAL + 8)
    names = np.array([f"g{n}" for n in range(30)], dtype=object)
    sets, draw = sets_of_one(tested, names), NullDraw("delete", 20, 0)
    drawn = draw_null_sets(
        sets, rows, tested, draw, group="all", n_tokens=N_TOKENS, exclude_tested=exclude_tested
    )  # fmt: skip
    assert set(drawn) == set(range(8))
    beside = {token for null in drawn.values() for (token,) in null}
    assert bool(beside & set(tested.tolist())) != exclude_tested
    features = gene_features(rows, N_TOKENS, draw)
    candidates = np.unique(rows.tokens)
    candidates = np.setdiff1d(candidates, tested) if exclude_tested else candidates
    assert drawn[2] == [(gene,) for gene in match_nulls(features, tested[2], candidates, 20).tolist()]


def test_where_nearly_all_genes_are_tested_each_stands_beside_the_others(make_rows: Callable) -> None:
    rows, names = make_rows([22] * 40), np.array([f"g{n}" for n in range(30)], dtype=object)
    every = np.arange(N_SPECIAL, N_TOKENS)
    drawn = draw_null_sets(
        sets_of_one(every, names), rows, every, NullDraw("delete", 10, 0), group="all", n_tokens=N_TOKENS
    )
    assert max(map(len, drawn.values())) > 3
    assert all((N_SPECIAL + place,) not in null for place, null in drawn.items())


def test_sets_are_replaced_gene_by_gene(make_rows: Callable) -> None:
    """Different sets of as many genes, each near the gene in whose place it is; a pair is held whole by a cell."""
    rows, tokens = make_rows([15] * 80), (N_SPECIAL + 4, N_SPECIAL + 9)
    found = {}
    for is_pair in (False, True):
        tested = [GeneSet("a+b", tokens, is_pair=is_pair)]
        draws = [
            draw_null_sets(tested, rows, rows.tokens, NullDraw("delete", 8, seed), group=group, n_tokens=N_TOKENS)[0]
            for seed, group in ((0, "x"), (0, "x"), (1, "x"), (0, "y"))
        ]
        assert draws[0] == draws[1] and draws[0] not in draws[2:]
        found[is_pair] = draws[0]
        features = gene_features(rows, N_TOKENS, NullDraw("delete", 8, 0))
        candidates = np.setdiff1d(np.unique(rows.tokens), tokens)
        for place, token in enumerate(tokens):
            near = match_nulls(features, token, candidates, 8).tolist()
            assert {null[place] for null in draws[0]} <= set(near)
        assert len(draws[0]) == len(set(map(frozenset, draws[0]))) > 3
        assert all(len(set(null)) == 2 for null in draws[0])
    cells = [set(rows.tokens[start:stop].tolist()) for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False)]
    assert all(any(set(null) <= cell for cell in cells) for null in found[True])


def test_sizes_are_those_of_the_rows_of_the_profile_code(make_network: Callable) -> None:
    network = make_network(code_size=4, n_directions=6)
    found = token_sizes(network)
    assert found is not None and (found[:N_SPECIAL] == 1).all()
    with torch.no_grad():
        encoder = network.profile_encoder
        codes = [encoder.rows(torch.tensor([gene]))[0].norm().item() for gene in range(30)]
    np.testing.assert_allclose(found[N_SPECIAL:], codes, rtol=1e-6)
    assert np.ptp(codes) > 0 and token_sizes(make_network()) is None


def test_few_null_genes_are_told_where_there_is_room_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(_log, "warning", said.append)
    table = pd.DataFrame({"readout": ["shift", "shift", "net_shift"], "gene": ["a", "b", "c"], "n_null": [20, 7, 0]})
    warn_of_few(table, 300, 200)  # room for 20
    assert (
        len(said) == 1
        and "'b': only 7 genes are like it" in said[0]
        and "smallest possible p_value is 0.12." in said[0]
    )
    warn_of_few(table, 300, 5)
    assert len(said) == 1
