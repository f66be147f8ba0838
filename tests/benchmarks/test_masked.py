"""Masks are the same for everybody, and counting scores what it should."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.genes._vocabulary import MASK, N_SPECIAL
from scflyformer.tokens._rows import TokenRows


@pytest.fixture
def rows():
    """40 cells in which gene 0 always ranks first."""
    random = np.random.default_rng(0)
    tokens = [np.concatenate([[0], 1 + random.permutation(9)[: random.integers(3, 9)]]) for _ in range(40)]
    lengths = [len(each) for each in tokens]
    flat = np.concatenate(tokens).astype(np.int32) + N_SPECIAL
    return TokenRows(np.concatenate([[0], np.cumsum(lengths)]), flat, np.ones(len(flat), dtype=np.float32))


def test_masks(rows):
    from _masked import masked_batches

    first, second = list(masked_batches(rows)), list(masked_batches(rows))
    assert sorted(np.concatenate([batch.cells for batch in first])) == list(range(40))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.selected, two.selected)
        assert (one.selected.sum(axis=1) == max(round(0.15 * one.truth.shape[1]), 1)).all()


def test_network_sees_no_hidden_gene_and_answers_inside_the_panel(rows):
    import torch
    from _masked import network_scores

    class Oracle(torch.nn.Module):
        def forward(self, tokens, values, selected, panel):
            assert (tokens[selected] == MASK).all() and (values[selected] < 0).all()
            logits = torch.zeros(int(selected.sum()), 10 + N_SPECIAL)
            logits[:, :N_SPECIAL] = 9.0
            return {"token_logits": logits}

    scores = network_scores(Oracle(), rows, np.ones(10, dtype=bool))
    np.testing.assert_allclose(scores.nats / scores.n, np.log(10), rtol=1e-6)


def test_counting(rows):
    from _masked import GeneFrequencies

    panel = np.ones(12, dtype=bool)
    panel[10] = False
    table = GeneFrequencies([rows, rows.take(np.arange(0))], 12, longest=9)
    scores = table.scores(rows, 0, panel)
    mean = {name: each.nats.sum() / each.n.sum() for name, each in scores.items()}
    counts = np.bincount(rows.tokens - N_SPECIAL, minlength=12)
    assert mean["rank position, not shown"] < mean["unigram by source"]
    from _masked import masked_batches

    truth = np.concatenate([batch.truth[batch.selected] for batch in masked_batches(rows)]) - N_SPECIAL
    shares = np.where(panel, counts + 1, 0) / np.where(panel, counts + 1, 0).sum()
    np.testing.assert_allclose(mean["unigram by source"], -np.log(shares[truth]).mean())


def test_rank_bins():
    from _masked import N_BINS, rank_bins

    bins = rank_bins(1000, 1000)
    assert bins[0] == 0 and bins.max() < N_BINS and (np.diff(bins) >= 0).all()
    np.testing.assert_array_equal(rank_bins(10, 1000), bins[:10])
