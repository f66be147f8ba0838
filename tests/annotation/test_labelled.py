"""Batches for fine-tuning hold each cell once a pass, hide genes, and are the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.annotation._labelled import LabelledBatches, LabelledCells
from scflyformer.genes._vocabulary import HIDDEN_VALUE, N_SPECIAL, PAD
from scflyformer.tokens._rows import TokenRows

LENGTHS = np.random.default_rng(0).integers(5, 30, 100)
LENGTHS[7] = 0


@pytest.fixture
def rows() -> TokenRows:
    """Return cells whose token ids count up within each cell."""
    indptr = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = np.concatenate([np.arange(n) + N_SPECIAL for n in LENGTHS]).astype(np.int32)
    return TokenRows(indptr, tokens, np.full(len(tokens), 1.5, dtype=np.float32))


def test_each_pass_holds_every_cell_once() -> None:
    batches = LabelledBatches(LENGTHS, np.arange(0, 100, 2), batch_cells=8, n_passes=3, seed=1)
    found = list(batches)
    assert len(found) == len(batches) == 3 * batches.per_pass
    assert [batch[0] for batch in found] == list(range(len(found)))
    for start in range(0, len(found), batches.per_pass):
        cells = np.concatenate([batch[1:] for batch in found[start : start + batches.per_pass]])
        assert sorted(cells) == list(range(0, 100, 2))
    assert found[: batches.per_pass] != found[batches.per_pass : 2 * batches.per_pass]
    assert max(len(batch) - 1 for batch in found) <= 8
    assert list(LabelledBatches(LENGTHS, np.arange(0, 100, 2), batch_cells=8, n_passes=3, seed=1)) == found


def test_cells_without_genes_are_left_out() -> None:
    batches = LabelledBatches(LENGTHS, np.arange(10), batch_cells=4, n_passes=1, seed=0)
    assert 7 not in np.concatenate([batch[1:] for batch in batches])


@pytest.mark.parametrize("gene_dropout", [0.0, 0.5, 1.0])
def test_batch(rows: TokenRows, gene_dropout: float) -> None:
    y = np.arange(100) % 3
    cells = LabelledCells(rows, y, n_genes=40, n_tokens=6, bert_len=10, gene_dropout=gene_dropout, seed=3)
    batch = {name: tensor.numpy() for name, tensor in cells.__getitems__([4, 11, 12, 13]).items()}
    longest = LENGTHS[11:14].max()
    assert batch["tokens"].shape == batch["values"].shape == (3, longest)
    np.testing.assert_array_equal(batch["labels"], y[11:14])
    assert batch["panel"].shape == (3, 40) and batch["panel"].all()
    real = batch["tokens"] != PAD
    np.testing.assert_array_equal(real.sum(axis=1), LENGTHS[11:14])
    hidden = real & (batch["values"] == HIDDEN_VALUE)
    assert (hidden.sum() == 0) == (gene_dropout == 0)
    assert (batch["values"][real & ~hidden] == 1.5).all() and (batch["values"][~real] == HIDDEN_VALUE).all()
    shown = batch["shown"]
    assert 1 <= shown.shape[1] <= 6 and (np.diff(shown, axis=1) > 0).all()
    assert np.take_along_axis(real, shown, axis=1).all()
    if gene_dropout < 1:
        assert not np.take_along_axis(hidden, shown, axis=1).any()
        place = np.cumsum(real & ~hidden, axis=1)  # among the genes that are left
        assert np.take_along_axis(place, shown, axis=1).max() <= 10 < place.max()
    again = cells.__getitems__([4, 11, 12, 13])
    assert all((again[name].numpy() == batch[name]).all() for name in batch)
    assert (cells.__getitems__([5, 11, 12, 13])["shown"].numpy().shape != shown.shape) or (
        cells.__getitems__([5, 11, 12, 13])["shown"].numpy() != shown
    ).any()
