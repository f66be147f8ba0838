"""Fingerprints depend on which chosen genes a cell expresses, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scflyformer.tokens._fingerprints import LEAST, N_GENES, fingerprints, gene_keys, telling_genes

IDS = [f"FBgn{number:07d}" for number in range(300)]


@pytest.fixture
def expressed() -> np.ndarray:
    """Which of 300 genes each of 40 cells expresses."""
    return np.random.default_rng(0).random((40, 300)) < 0.4


def sums_of(expressed: np.ndarray, keys: np.ndarray, *chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = sparse.csr_matrix(expressed)
    return fingerprints(rows.indptr, rows.indices, keys, list(chosen))


def test_a_key_hangs_on_gene_and_salt() -> None:
    keys = gene_keys(IDS, b"salt")
    assert keys.dtype == np.uint64 and len(set(keys.tolist())) == len(IDS)
    assert (gene_keys(IDS[::-1], b"salt") == keys[::-1]).all()
    assert not np.isin(gene_keys(IDS, b"other"), keys).any()


def test_they_are_sums_of_keys_by_hand(expressed: np.ndarray) -> None:
    keys, chosen = gene_keys(IDS, b"salt"), np.arange(10, 200)
    sums, counts = sums_of(expressed, keys, chosen)
    for cell, row in enumerate(expressed):
        by_hand = sum(int(keys[gene]) for gene in chosen if row[gene]) % 2**64
        assert int(sums[cell, 0]) == by_hand
    assert counts.all() and len(np.unique(sums)) == len(expressed)


def test_genes_that_are_not_chosen_do_not_count(expressed: np.ndarray) -> None:
    keys, chosen = gene_keys(IDS, b"salt"), np.arange(100)
    other = expressed.copy()
    other[:, 100:] = ~other[:, 100:]
    np.testing.assert_array_equal(sums_of(expressed, keys, chosen)[0], sums_of(other, keys, chosen)[0])


def test_several_choices_at_once_are_those_one_by_one(expressed: np.ndarray) -> None:
    keys, first, second = gene_keys(IDS, b"salt"), np.arange(60), np.arange(50, 300)
    sums, counts = sums_of(expressed, keys, first, second)
    for at, chosen in enumerate((first, second)):
        alone = sums_of(expressed, keys, chosen)
        np.testing.assert_array_equal(sums[:, [at]], alone[0])
        np.testing.assert_array_equal(counts[:, [at]], alone[1])


@pytest.mark.parametrize(("n_expressed", "counts"), [(LEAST - 1, False), (LEAST, True), (80, True), (81, False)])
def test_cells_with_too_few_or_nearly_all_genes_do_not_count(n_expressed: int, counts: bool) -> None:
    cell = np.arange(300) < n_expressed
    assert sums_of(cell[None], gene_keys(IDS, b"salt"), np.arange(100))[1].item() is counts


def test_genes_are_chosen_that_half_of_the_cells_express() -> None:
    n_expressing = np.arange(1000)
    measured = np.ones(1000, dtype=bool)
    measured[500] = False
    chosen = telling_genes(n_expressing, 1000, measured)
    assert len(chosen) == N_GENES and (np.diff(chosen) > 0).all()
    assert 500 not in chosen and abs(chosen - 500).max() <= N_GENES / 2 + 1
    assert telling_genes(n_expressing[:30], 30, measured[:30]).tolist() == list(range(30))
