"""Passing proves: a cell's vector is its own, whatever else is in the batch, and pooling is what it is called."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scflyformer._running import Running
from scflyformer.network._infer import embed_rows
from scflyformer.tokens._rows import TokenRows

CPU = {"running": Running("cpu", "float32")}
poolings = pytest.mark.parametrize("pooling", ["cell", "mean"])


def one_by_one(network, rows: TokenRows, pooling: str) -> np.ndarray:
    """Embed each cell alone, without padding."""
    vectors = []
    for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
        tokens = torch.from_numpy(rows.tokens[start:stop].astype(np.int64))[None]
        values = torch.from_numpy(rows.values[start:stop])[None]
        with torch.inference_mode():
            if start == stop:
                vectors.append(np.zeros(16))
            elif pooling == "cell":
                vectors.append(network.cell_vectors(network.encode(tokens, values))[0].numpy())
            else:
                hidden = network.encode(tokens, values, layer=-2)[0, int(network.has_cell_token) :]
                vectors.append(hidden.mean(0).numpy())
    return np.array(vectors)


@poolings
@pytest.mark.parametrize("batch_tokens", [1, 7, 64, np.int64(64), 10_000, "auto"])
def test_against_one_by_one(make_network, make_rows, pooling, batch_tokens):
    network, rows = make_network(), make_rows([3, 20, 0, 1, 20, 7, 7, 0, 12])
    found = embed_rows(network, rows, pooling=pooling, running=Running("cpu", "float32", batch_tokens))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(network, rows, pooling), atol=1e-5)
    assert not found[[2, 7]].any()


def test_the_code_alone(make_network, make_rows):
    """The last numbers of the whole embedding, without BERT, which may be missing its weights."""
    network, rows = make_network(code_size=4, n_directions=6), make_rows([3, 20, 0, 9])
    whole = embed_rows(network, rows, pooling="cell", **CPU)
    with torch.no_grad():
        network.bert.embeddings.word_embeddings.weight.fill_(torch.nan)
    found = embed_rows(network, rows, pooling="code", **CPU)
    assert found.shape == (4, network.embedding_size("code")) == (4, 10)
    np.testing.assert_allclose(found, whole[:, 16:], atol=1e-6)
    with pytest.raises(ValueError, match="needs a model with a profile code"):
        embed_rows(make_network(), rows, pooling="code", **CPU)


def test_the_articles_mean(make_network, make_rows):
    network, rows = make_network("mlm"), make_rows([3, 20, 9])
    found = embed_rows(network, rows, pooling="mean", **CPU)
    np.testing.assert_allclose(found, one_by_one(network, rows, "mean"), atol=1e-5)


@poolings
@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 200), st.randoms(use_true_random=False))
def test_order_and_batches_have_no_say(make_network, make_rows, pooling, lengths, batch_tokens, random):
    network, rows = make_network(), make_rows(lengths)
    order = np.array(random.sample(range(len(lengths)), len(lengths)))
    found = embed_rows(network, rows, pooling=pooling, **CPU)
    again = embed_rows(network, rows.take(order), pooling=pooling, running=Running("cpu", "float32", batch_tokens))
    np.testing.assert_allclose(again, found[order], atol=1e-5)


@poolings
def test_only_counted_tokens_enter_the_mean(make_network, make_rows, pooling):
    network, rows = make_network(), make_rows([5, 9, 2])
    counted = np.random.default_rng(0).random(16) < 0.6
    counted[:5] = False
    found = embed_rows(network, rows, pooling=pooling, counted=counted, **CPU)
    if pooling == "cell":
        np.testing.assert_allclose(found, one_by_one(network, rows, "cell"), atol=1e-5)
        return
    assert not found[0].any()  # none of its tokens count
    tokens = torch.from_numpy(rows.tokens[5:14].astype(np.int64))[None]
    with torch.inference_mode():
        hidden = network.encode(tokens, torch.from_numpy(rows.values[5:14])[None], layer=-2)[0, 1:]
    np.testing.assert_allclose(found[1], hidden[torch.from_numpy(counted[5:14])].mean(0).numpy(), atol=1e-5)


@poolings
def test_longer_cells_are_cut(make_network, make_rows, pooling):
    network, rows = make_network(max_len=8), make_rows([30, 8, 4])
    found = embed_rows(network, rows, pooling=pooling, **CPU)
    np.testing.assert_allclose(found, one_by_one(network, rows.cut(8), pooling), atol=1e-5)
    with pytest.raises(ValueError, match="at most 8 tokens; cut the cells first"):
        embed_rows(network, rows, pooling="mean", counted=np.ones(42, dtype=bool), **CPU)


@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
@poolings
def test_nothing_to_embed(make_network, make_rows, pooling, lengths):
    found = embed_rows(make_network(), make_rows(lengths), pooling=pooling, **CPU)
    assert found.shape == (len(lengths), 16)
    assert not found.any()


def test_one_layer_has_a_second_to_last(make_network, make_rows):
    """The embeddings themselves."""
    found = embed_rows(make_network(n_layers=1), make_rows([4]), pooling="mean", **CPU)
    assert np.isfinite(found).all()


def test_dropout_is_off_and_the_bar_counts_cells(make_network, make_rows):
    network, rows, moved = make_network().train(), make_rows([9, 9, 9]), []
    bar = SimpleNamespace(update=moved.append)
    found = embed_rows(network, rows, pooling="cell", running=Running("cpu", "float32", 32), bar=bar)
    again = embed_rows(network, rows, pooling="cell", running=Running("cpu", "float32", 32))
    np.testing.assert_allclose(found, again, atol=1e-5)
    assert moved == [2, 1]
    assert not network.training


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@poolings
def test_narrow_numbers_come_close(make_network, make_rows, pooling, dtype):
    network, rows = make_network(), make_rows([9, 4, 20])
    wide = embed_rows(network, rows, pooling=pooling, **CPU)
    narrow = embed_rows(network, rows, pooling=pooling, running=Running("cpu", dtype))
    assert narrow.dtype == np.float32
    assert np.corrcoef(wide.ravel(), narrow.ravel())[0, 1] > 0.99
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("batch_tokens", [0, -5, 1.5, "many", None, True, float("nan")])
def test_batch_tokens_that_cannot_be(make_network, make_rows, batch_tokens):
    with pytest.raises(ValueError, match="must be 'auto' or a whole number of at least 1"):
        embed_rows(make_network(), make_rows([3]), pooling="cell", running=Running("cpu", "float32", batch_tokens))


def test_pooling_that_cannot_be(make_network, make_rows):
    with pytest.raises(ValueError, match="pooling='cell' needs a model with a cell token"):
        embed_rows(make_network("mlm"), make_rows([3]), pooling="cell", **CPU)
    with pytest.raises(ValueError, match="pooling='max' is unknown; expected 'cell', 'code' or 'mean'"):
        embed_rows(make_network(), make_rows([3]), pooling="max", **CPU)
