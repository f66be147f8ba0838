"""Null genes stand where the tested gene stands."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.perturbation._null_sets import gene_profile, match_nulls


def test_gene_profile_counts_cells_and_relative_ranks() -> None:
    """Detection is over all cells, rank over those that hold the gene; a lone token ranks first."""
    detection, rank = gene_profile(np.array([0, 3, 5, 6, 6]), np.array([2, 0, 1, 0, 2, 2]), 4)
    assert detection.tolist() == [0.5, 0.25, 0.75, 0.0]
    assert rank.tolist() == pytest.approx([0.25, 1.0, 1 / 3, 1.0])


def test_match_is_close_reproducible_and_never_the_target() -> None:
    """Drawn genes are nearer to the target than the rest, the same for a seed, others for another seed."""
    rng = np.random.default_rng(0)
    detection, rank = rng.uniform(size=400), rng.uniform(size=400)
    candidates = np.setdiff1d(np.arange(400), [7, 8, 9])
    drawn = match_nulls(detection, rank, 7, candidates, 40, np.random.default_rng(1))
    again = match_nulls(detection, rank, 7, candidates[::-1], 40, np.random.default_rng(1))
    other = match_nulls(detection, rank, 7, candidates, 40, np.random.default_rng(2))
    assert np.array_equal(drawn, again) and not np.array_equal(drawn, other)
    assert len(np.unique(drawn)) == 40 and not np.isin([7, 8, 9], drawn).any()
    rest = np.setdiff1d(candidates, drawn)
    for feature in (detection, rank):
        assert abs(feature[drawn] - feature[7]).mean() < 0.5 * abs(feature[rest] - feature[7]).mean()


def test_match_takes_what_there_is() -> None:
    """With too few candidates all are taken, the target left out."""
    assert match_nulls(np.ones(4), np.ones(4), 1, np.arange(4), 9, np.random.default_rng(0)).tolist() == [0, 2, 3]
