"""Passing proves: BERT reads the highest ranks alone, the profile code all, and every tool says the same of a cell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from scflyformer._running import Running
from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.network._infer import embed_rows
from scflyformer.perturbation._copies import edit_block, perturbed_shifts
from scflyformer.perturbation._downstream import contextual_moves
from scflyformer.perturbation._edit import Edits
from scflyformer.perturbation._first_order import first_order_changes
from scflyformer.perturbation._shift import state_cosines
from scflyformer.tokens._rows import TokenRows

CPU = {"running": Running("cpu", "float32")}
READ = 8


@pytest.fixture
def network(make_network):
    """A network that reads 20 genes of a cell, BERT 8 of them."""
    return make_network(code_size=4, n_directions=6, bert_len=READ)


@pytest.fixture
def rows(make_rows) -> TokenRows:
    return make_rows([20, 5, 12, 8, 17])


def with_values(rows: TokenRows, rank: slice, factor: float) -> TokenRows:
    """Return the cells with other values at some ranks."""
    values = rows.values.copy()
    for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
        values[start:stop][rank] *= factor
    return TokenRows(rows.indptr, rows.tokens, values)


def test_sizes(network):
    assert (network.max_len, network.bert_len) == (20, READ)
    assert (network.limit("cell"), network.limit("mean")) == (20, READ)
    assert network.bert.embeddings.position_embeddings.num_embeddings == READ + 1


def test_the_code_reads_what_bert_does_not(network, rows):
    """A gene of a low rank moves the code, and the token by way of the code alone."""
    token, code = np.split(embed_rows(network, rows, pooling="cell", **CPU), [16], axis=1)
    network.code_to_cell.weight.data.zero_()
    alone = embed_rows(network, rows, pooling="cell", **CPU)[:, :16]
    changed = embed_rows(network, with_values(rows, slice(READ, None), 0.5), pooling="cell", **CPU)
    np.testing.assert_array_equal(changed[:, :16], alone)
    longer = rows.lengths > READ
    assert (np.abs(changed[:, 16:] - code).max(1) > 1e-3).tolist() == longer.tolist()
    assert np.abs(token - alone).max() > 1e-3
    high = embed_rows(network, with_values(rows, slice(0, READ), 0.5), pooling="cell", **CPU)
    assert (np.abs(high[:, :16] - alone).max(1) > 1e-4).all()


def test_the_mean_is_that_of_cells_cut_to_what_bert_reads(network, rows):
    found = embed_rows(network, rows, pooling="mean", **CPU)
    np.testing.assert_array_equal(found, embed_rows(network, rows.cut(READ), pooling="mean", **CPU))


@pytest.mark.parametrize("pooling", ["cell", "mean"])
@pytest.mark.parametrize("batch_tokens", [1, 30, 10_000])
def test_whatever_else_is_in_the_batch(network, rows, pooling, batch_tokens):
    found = embed_rows(network, rows, pooling=pooling, running=Running("cpu", "float32", batch_tokens))
    alone = [embed_rows(network, rows.take(np.array([cell])), pooling=pooling, **CPU)[0] for cell in range(len(rows))]
    np.testing.assert_allclose(found, alone, atol=1e-5)


def deletions(rows: TokenRows) -> Edits:
    """Return every deletion of a gene of a cell, cell by cell and rank by rank."""
    owner = np.repeat(np.arange(len(rows)), rows.lengths)
    return Edits(rows.tokens[:, None].astype(np.int64), owner, np.arange(len(owner)), "delete")


def test_a_deletion_is_the_embedding_of_what_is_left(network, rows):
    """The next gene in rank then comes into BERT's view."""
    centroids = np.random.default_rng(1).normal(size=(1, network.embedding_size("cell")))
    vectors = embed_rows(network, rows, pooling="cell", **CPU)
    states = np.zeros((len(rows), 1), dtype=np.int64)
    how = {"vectors": vectors, "centroids": centroids, "states": states, "pooling": "cell"}
    found = perturbed_shifts(network, rows, deletions(rows), **how, **CPU)[:, 0]
    expected = []
    for cell, place in zip(deletions(rows).cells, range(len(rows.tokens)), strict=True):
        kept = np.arange(rows.indptr[cell], rows.indptr[cell + 1]) != place
        left = embed_rows(network, rows.take(np.array([cell])).select(kept), pooling="cell", **CPU)
        after, before = (state_cosines(x, centroids, states[:1])[0, 0] for x in (left, vectors[[cell]]))
        expected.append(after - before)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["delete", "overexpress", "mask", "knockdown"])
def test_copies_under_the_mean_are_those_of_cut_cells(network, rows, kind):
    """Before and after alike the mean over the genes that BERT reads of both, embedded afresh copy by copy."""
    cut = rows.cut(READ)
    cells = np.arange(len(rows))
    sets = cut.tokens[cut.indptr[:-1] + 1][:, None].astype(np.int64)  # each cell's second gene, in itself and others
    if kind == "overexpress":
        sets = rows.tokens[rows.indptr[1:] - 1][:, None].astype(np.int64)
    edits = Edits(sets, cells, cells, kind, 0.5)
    centroids = np.random.default_rng(1).normal(size=(1, network.embedding_size("mean")))
    states = np.zeros((len(rows), 1), dtype=np.int64)
    vectors = embed_rows(network, rows, pooling="mean", **CPU)
    how = {"vectors": vectors, "centroids": centroids, "states": states, "pooling": "mean"}
    found = perturbed_shifts(network, rows, edits, **how, **CPU)[:, 0]
    for cell in cells:
        one = edit_block(cut, edits, np.array([cell]), max_len=READ)
        assert one.rows.lengths[0] <= READ
        whole = cut.take(np.array([cell]))
        before = embed_rows(network, whole, pooling="mean", counted=one.kept, **CPU)
        after = embed_rows(network, one.rows, pooling="mean", counted=one.shared, **CPU)
        shift = state_cosines(after, centroids, states[:1]) - state_cosines(before, centroids, states[:1])
        assert found[cell] == pytest.approx(shift[0, 0], abs=1e-5)
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_screens_and_moves_of_longer_cells(network, rows, pooling):
    """The estimate ranks deletions as they are; under the mean, cells are cut first."""
    for layer in network.bert.encoder.layer:
        for name, parameter in layer.named_parameters():
            if "weight" in name and parameter.ndim == 2:
                parameter.data.mul_(0.3)
    centroids = np.random.default_rng(1).normal(size=(1, network.embedding_size(pooling)))
    states = np.zeros((len(rows), 1), dtype=np.int64)
    if pooling == "mean":
        with pytest.raises(ValueError, match="20 tokens, and the network reads 8"):
            first_order_changes(network, rows, centroids, pooling=pooling, **CPU)
    cut = rows.cut(network.limit(pooling))
    found = first_order_changes(network, cut, centroids, pooling=pooling, **CPU).total[:, 0]
    vectors = embed_rows(network, rows, pooling=pooling, **CPU)
    how = {"vectors": vectors, "centroids": centroids, "states": states, "pooling": pooling}
    exact = perturbed_shifts(network, cut, deletions(cut), **how, **CPU)[:, 0]
    assert np.isfinite(found).all()
    assert spearmanr(found, exact).statistic > 0.6


def test_moves_of_the_genes_that_bert_reads(network, rows):
    edits = Edits(rows.tokens[:1, None].astype(np.int64), np.array([0]), np.array([0]), "delete")
    moved, counts = contextual_moves(network, rows, edits, np.array([0]), **CPU)
    first = rows.tokens[:READ]
    assert np.flatnonzero(counts[0]).tolist() == sorted(first[1:].tolist())
    assert (moved[0, first[1:]] > 0).all()
    assert (rows.tokens >= N_SPECIAL).all()
    assert PAD not in first
