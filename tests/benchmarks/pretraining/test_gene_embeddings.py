"""The scores of families: right where they are planted, at chance where only abundance is shared."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pretraining.gene_embeddings import (
    CO_EXPRESSION,
    by_family,
    cosines,
    find_families,
    mean_lines,
    score,
)

N, FAMILY = 400, np.arange(0, 80, 8)


def test_a_planted_family_is_found():
    random = np.random.default_rng(0)
    vectors, abundance = random.normal(size=(N, 20)), random.normal(size=(N, 2))
    vectors[FAMILY] += 5 * random.normal(size=20)
    auroc, nearest = score(cosines(vectors), FAMILY, abundance)
    assert auroc > 0.98 and nearest > 0.98


def test_genes_that_share_their_abundance_alone_are_at_chance():
    """A family of abundant genes, and vectors that say nothing but how abundant a gene is."""
    random = np.random.default_rng(1)
    level = random.normal(size=10 * N)
    family = np.argsort(-level)[: 2 * N][random.choice(2 * N, 12, replace=False)]
    vectors = np.stack([level, np.ones(10 * N)], axis=1)
    auroc, _ = score(cosines(vectors), family, np.stack([level, level], axis=1))
    assert auroc == pytest.approx(0.5, abs=0.06)
    unmatched, _ = score(cosines(vectors), family, random.normal(size=(10 * N, 2)))
    assert unmatched > 0.75


def test_ties_count_half():
    auroc, _ = score(np.ones((N, N)), FAMILY, np.zeros((N, 2)))
    assert auroc == 0.5


def test_families_go_by_whole_symbols():
    symbols = np.array([*(f"RpL{n}" for n in range(6)), "mRpL1", "RpII", *(f"CCT{n}" for n in range(4))])
    found = find_families(symbols)
    assert list(found) == ["ribosome"] and found["ribosome"].tolist() == list(range(6))


def test_means_and_gains_are_over_families():
    random = np.random.default_rng(2)
    families = {name: np.arange(start, start + 8) for name, start in (("one", 0), ("two", 50), ("three", 100))}
    plain, planted = random.normal(size=(2, N, 10))
    for genes in families.values():
        planted[genes] += 6 * random.normal(size=10)
    table = by_family({"planted": planted, CO_EXPRESSION: plain}, families, random.normal(size=(N, 2)))
    assert len(table) == 6 and set(table["n"]) == {8}
    lines = {line[0]: line[1:] for line in mean_lines(table)}
    means = table.groupby("vectors")[["auroc", "nearest"]].mean()
    gain = means.loc["planted"] - means.loc[CO_EXPRESSION]
    for shown, value in zip(
        lines["planted"], np.ravel(list(zip(means.loc["planted"], gain, strict=True))), strict=True
    ):
        assert shown.startswith(f"{value:.3f} (")
    assert lines[CO_EXPRESSION][1] == "0.000 (0.000 to 0.000)"
