"""Batches hold every cell once, keep to the budget, and do not mix lengths where one length fills most of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.tokens._batches import pad_rows, token_batches


@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 200))
def test_batches_partition_the_cells_within_the_budget(lengths: list[int], budget: int) -> None:
    """Each cell once; several cells only where they fit; most of one length means all of one length."""
    found = token_batches(np.array(lengths, dtype=np.int64), budget)
    assert sorted(np.concatenate(found).tolist() if found else []) == list(range(len(lengths)))
    for batch in found:
        own = np.array(lengths)[batch]
        assert len(batch) == 1 or len(batch) * max(own.max(), 1) <= budget
        assert (own == own[0]).all() or 2 * (own == own[0]).sum() < len(batch)


def test_pad_rows_fills_at_the_end() -> None:
    """Rows of a ragged array as one matrix."""
    padded = pad_rows(np.array([0, 2, 2, 5]), np.array([1, 2, 3, 4, 5]), np.array([2, 1, 0]), 0)
    assert padded.tolist() == [[3, 4, 5], [0, 0, 0], [1, 2, 0]]
