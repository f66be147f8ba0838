"""Passing proves: padding changes nothing, a hidden value has no say, and without a cell token it is a plain BERT."""

from __future__ import annotations

import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from scflyformer.genes._vocabulary import MASK, N_SPECIAL, PAD
from scflyformer.network._network import HIDDEN_VALUE, make_config

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@pytest.fixture
def tokens() -> torch.Tensor:
    """Two cells of seven tokens."""
    return torch.tensor([[5, 9, 3, 30, 12, 7, 8], [32, 4, 3, 21, 6, 17, 9]])


@pytest.fixture
def values() -> torch.Tensor:
    """Their values, highest first."""
    return torch.tensor([[3.0, 2.0, 1.5, 1.0, 0.5, 0.25, 0.0]]).repeat(2, 1)


@pytest.mark.parametrize("objective", ["cell", "mlm"])
@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("fill", [HIDDEN_VALUE, 0.0, 7.0])
def test_padding_changes_nothing(make_network, tokens, values, objective, layer, fill):
    network = make_network(objective)
    mask = torch.ones(2, 11, dtype=torch.int64)
    mask[:, 7:] = 0
    padded = torch.nn.functional.pad(tokens, (0, 4), value=PAD)
    with torch.inference_mode():
        short = network.encode(tokens, values, layer=layer)
        long = network.encode(padded, torch.nn.functional.pad(values, (0, 4), value=fill), mask, layer=layer)
    extra = int(objective == "cell")
    assert short.shape == (2, 7 + extra, 16)
    torch.testing.assert_close(long[:, : 7 + extra], short, **CLOSE)


def test_a_hidden_value_has_no_say(make_network, tokens, values):
    network = make_network()
    hidden = values.clone()
    hidden[:, 2] = HIDDEN_VALUE
    other = hidden.clone()
    other[:, 2] = -9.0
    with torch.inference_mode():
        torch.testing.assert_close(network.encode(tokens, hidden), network.encode(tokens, other), rtol=0, atol=0)
        assert (network.encode(tokens, hidden) - network.encode(tokens, values)).abs().max() > 1e-2


def test_no_value_shown_is_a_bert_with_the_cell_token_in_front(make_network, tokens):
    network = make_network()
    with torch.inference_mode():
        found = network.encode(tokens, torch.full(tokens.shape, HIDDEN_VALUE))
        plain = network.bert(torch.nn.functional.pad(tokens, (1, 0), value=2)).last_hidden_state
    torch.testing.assert_close(found, plain, **CLOSE)


def test_mlm_is_a_plain_bert(make_network, tokens, values):
    """Values play no part; encoder and head give what transformers' own classes give from the same weights."""
    network = make_network("mlm")
    encoder = BertModel(network.config, add_pooling_layer=False).eval()
    encoder.load_state_dict(network.bert.state_dict())
    with torch.inference_mode():
        found = network.encode(tokens, values)
        torch.testing.assert_close(found, encoder(tokens).last_hidden_state, **CLOSE)
        torch.testing.assert_close(found, network.encode(tokens, values * 0 + 5), rtol=0, atol=0)
        whole = BertForMaskedLM(network.config).eval()
        whole.load_state_dict(network.state_dict())
        selected = torch.zeros(tokens.shape, dtype=torch.bool)
        selected[0, 1] = selected[1, 4] = True
        asked = torch.where(selected, MASK, tokens)
        out = network(asked, values, selected)
        torch.testing.assert_close(out["token_logits"], whole(asked).logits[selected], **CLOSE)
    assert set(out) == {"token_logits"}


def test_what_pretraining_reads(make_network, tokens, values):
    """Logits of the selected tokens in row order, and a profile that is linear in the normed cell token."""
    network = make_network()
    selected = torch.zeros(tokens.shape, dtype=torch.bool)
    selected[0, 6] = selected[1, 0] = selected[1, 5] = True
    with torch.inference_mode():
        out = network(tokens, values, selected)
        hidden = network.encode(tokens, values)
        cells = network.cell_vectors(hidden)
        expected = torch.stack([hidden[0, 7], hidden[1, 1], hidden[1, 6]])
        torch.testing.assert_close(out["token_logits"], network.cls(expected), **CLOSE)
        decoder = network.profile_decoder
        torch.testing.assert_close(out["profile_logits"], cells @ decoder.weight.T + decoder.bias, **CLOSE)
        torch.testing.assert_close(
            cells,
            torch.nn.functional.layer_norm(hidden[:, 0], (16,), network.cell_norm.weight, network.cell_norm.bias),
        )
    assert out["profile_logits"].shape == (2, 30)
    assert out["token_logits"].shape == (3, 30 + N_SPECIAL)


def test_every_weight_learns(make_network, tokens, values):
    network = make_network().train()
    selected = torch.zeros(tokens.shape, dtype=torch.bool)
    selected[:, 3] = True
    out = network(tokens, values, selected)
    (out["token_logits"].square().mean() + out["profile_logits"].square().mean()).backward()
    dead = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or (not parameter.grad.any() and "key.bias" not in name)
    ]
    assert dead == []


@pytest.mark.parametrize(("objective", "positions"), [("cell", 21), ("mlm", 20)])
def test_the_cell_token_takes_a_position_of_its_own(make_network, objective, positions):
    network = make_network(objective)
    assert network.config.max_position_embeddings == positions
    assert network.max_len == 20
    full = torch.arange(3, 23)[None]
    assert network.encode(full, torch.ones(1, 20)).shape[1] == positions


def test_the_head_is_tied_to_the_embedding(make_network):
    network = make_network()
    assert network.cls.predictions.decoder.weight is network.bert.embeddings.word_embeddings.weight


def test_objective_travels_in_the_configuration(tmp_path):
    from transformers import BertConfig

    config = make_config(
        9, objective="mlm", hidden_size=4, n_layers=1, n_heads=1, feed_forward=4, max_len=5, dropout=0.0
    )
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path).objective == "mlm"
