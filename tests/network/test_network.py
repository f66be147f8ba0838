"""Passing proves: padding changes nothing, a hidden value has no say, and without a cell token it is a plain BERT.

The embedding, whose last layer is computed for the cell token alone, is the one that the whole encoder gives.
"""

from __future__ import annotations

import pytest
import torch
from transformers import BertForMaskedLM, BertModel

from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, N_SPECIAL, PAD
from scflyformer.network._network import NetworkShape, make_config

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
        torch.testing.assert_close(network.encode(tokens, hidden), network.encode(tokens, other), **CLOSE)
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
        torch.testing.assert_close(found, network.encode(tokens, values * 0 + 5), **CLOSE)
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


def from_whole_encoder(network, tokens, values, mask=None, *, panel=None, shown=None):
    """The embedding, by way of every layer's output for every token."""
    code = None if network.profile_encoder is None else network.profile_encoder(tokens, values, panel)
    if shown is not None:
        tokens, values = tokens.gather(1, shown), values.gather(1, shown)
    embedded, mask = network._embedded(tokens, values, mask, code)
    cells = network.cell_vectors(network.bert(inputs_embeds=embedded, attention_mask=mask).last_hidden_state)
    return cells if code is None else torch.cat([cells.float(), code], dim=1)


def padded(tokens, values):
    """The cells cut to seven and four tokens, filled up to nine, and their mask."""
    mask = torch.zeros(2, 9, dtype=torch.int64)
    mask[0, :7] = mask[1, :4] = 1
    tokens = torch.nn.functional.pad(tokens, (0, 2)).where(mask == 1, PAD)
    return tokens, torch.nn.functional.pad(values, (0, 2)).where(mask == 1, HIDDEN_VALUE), mask


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("n_layers", [1, 2, 4])
@pytest.mark.parametrize("code_size", [0, 5])
def test_the_embedding_is_that_of_the_whole_encoder(make_network, tokens, values, attention, n_layers, code_size):
    network = make_network(n_layers=n_layers, code_size=code_size, n_directions=code_size)
    network.set_attn_implementation(attention)
    panel = torch.arange(30) % 7 != 0
    shown = torch.tensor([[0, 2, 3], [1, 4, 6]])
    with torch.inference_mode():
        for cells, asked in (
            ((tokens, values), {}),
            ((tokens, values), {"panel": panel}),
            ((tokens, values), {"shown": shown}),
            (padded(tokens, values), {"panel": panel}),
        ):
            found, expected = network.embed(*cells, **asked), from_whole_encoder(network, *cells, **asked)
            assert found.shape == (2, network.embedding_size("cell")) and expected.std() > 0.1
            torch.testing.assert_close(found, expected, **CLOSE)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                torch.testing.assert_close(network.embed(*cells, **asked).float(), expected, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_embedding_trains_as_the_whole_encoder_does(make_network, tokens, values, attention):
    gradients = []
    for embed in (type(make_network()).embed, from_whole_encoder):
        network = make_network(n_layers=3, code_size=5).train()
        network.set_attn_implementation(attention)
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        embed(network, *padded(tokens, values))[:, ::3].square().sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    found, expected = gradients
    assert found.keys() == expected.keys() and {name.split(".")[0] for name in found} > {"bert", "cell_norm"}
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-3, msg=lambda m, name=name: name + m)


@pytest.mark.parametrize("part", ["embeddings", "attention.self", "attention.output", "output"])
def test_dropout_acts_in_training_alone(make_network, tokens, values, part):
    network = make_network()
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    home = network.bert if part == "embeddings" else network.bert.encoder.layer[-1]
    home.get_submodule(part).dropout.p = 0.5
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        still = network.embed(tokens, values)
        torch.testing.assert_close(still, network.embed(tokens, values), **CLOSE)
        network.train()
        first, second = network.embed(tokens, values), network.embed(tokens, values)
        assert not torch.allclose(first, second, atol=1e-2) and not torch.allclose(first, still, atol=1e-2)


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
        9, NetworkShape(objective="mlm", hidden_size=4, n_layers=1, n_heads=1, feed_forward=4, max_len=5, dropout=0.0)
    )
    config.save_pretrained(tmp_path)
    assert BertConfig.from_pretrained(tmp_path).objective == "mlm"


def test_a_cell_token_of_another_size_says_the_same(make_network):
    """What is decoded from it, and which half goes with which, does not change; scaling twice is scaling once."""
    network = make_network(code_size=6, n_directions=5).eval()
    with torch.no_grad():
        network.cell_norm.weight.uniform_(0.5, 2)
        network.cell_norm.bias.uniform_(-1, 1)
        hidden, others = torch.randn(4, 9, 16), torch.rand(4, 30)

        def said() -> tuple[torch.Tensor, ...]:
            cells = network.cell_vectors(hidden)
            halves = network.half_logits(cells, others, None) if network.other_half is not None else cells.new_zeros(1)
            return cells, network.profile_logits(cells), halves

        before, *decoded = said()
        network.scale_token(0.5)
        after, *again = said()
        network.scale_token(0.5)
        torch.testing.assert_close(said()[0], after)
    assert float(network.cell_norm.weight.detach().square().mean().sqrt()) == pytest.approx(0.5)
    torch.testing.assert_close(after / after.norm(), before / before.norm())
    for one, other in zip(decoded, again, strict=True):
        torch.testing.assert_close(one, other)
