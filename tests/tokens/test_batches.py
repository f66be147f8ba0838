"""Batches hold every cell once, keep to the budget with padding in whole steps, and put like lengths together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.tokens._batches import in_steps, pad_rows, token_batches


@given(st.lists(st.integers(0, 70), max_size=80), st.integers(1, 300))
def test_batches_partition_the_cells_within_the_budget(lengths: list[int], budget: int) -> None:
    """Each cell once, longest first; several cells only where they fit."""
    found = token_batches(np.array(lengths, dtype=np.int64), budget)
    order = np.concatenate(found).tolist() if found else []
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[cell] for cell in order] == sorted(lengths, reverse=True)
    for batch in found:
        assert len(batch) == 1 or len(batch) * in_steps(max(lengths[cell] for cell in batch)) <= budget


@pytest.mark.parametrize(("length", "width"), [(0, 15), (1, 15), (15, 15), (16, 31), (1023, 1023)])
def test_lengths_in_steps(length: int, width: int) -> None:
    assert in_steps(length) == width
    assert in_steps(length, 5) == max(length, 5)


def test_a_short_network_gets_full_batches() -> None:
    """As for the longest cells of a network of 1,024 tokens, which the next step would lie beyond."""
    assert list(map(len, token_batches(np.full(16, 1024), 8192, limit=1024))) == [8, 8]


def test_rows_padded_in_steps_stay_within_the_limit() -> None:
    indptr, flat = np.array([0, 17, 20]), np.arange(20)
    assert pad_rows(indptr, flat, np.array([0, 1]), -1, limit=48).shape == (2, 31)
    assert pad_rows(indptr, flat, np.array([0, 1]), -1, limit=20).shape == (2, 20)
    assert pad_rows(indptr, flat, np.array([1]), -1, limit=20).tolist() == [[17, 18, 19] + [-1] * 12]


def test_pad_rows_fills_at_the_end() -> None:
    """Rows of a ragged array as one matrix."""
    padded = pad_rows(np.array([0, 2, 2, 5]), np.array([1, 2, 3, 4, 5]), np.array([2, 1, 0]), 0)
    assert padded.tolist() == [[3, 4, 5], [0, 0, 0], [1, 2, 0]]
