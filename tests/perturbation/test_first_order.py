"""Passing proves: the screen is the derivative that it says, exact where it can be, and ranks as deletion does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from scflyformer._running import Running
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._infer import embed_rows
from scflyformer.perturbation._first_order import FirstOrder, first_order_changes
from scflyformer.perturbation._shift import state_cosines, unit_vectors
from scflyformer.tokens._rows import TokenRows

CPU = {"running": Running("cpu", "float32")}
CODE = {"code_size": 4, "n_directions": 6}


def goals_for(network, pooling: str, n: int = 2) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n, network.embedding_size(pooling)))


def estimates(network, rows, vectors, *, pooling="cell", dtype="float32", batch_tokens="auto", bar=None) -> FirstOrder:
    running = Running("cpu", dtype, batch_tokens)
    return first_order_changes(network, rows, vectors, pooling=pooling, running=running, bar=bar)


def estimate(network, rows, centroids, **changes) -> np.ndarray:
    """Return the estimated shift towards the first centroid."""
    return estimates(network, rows, centroids[:1], **changes).total[:, 0] / np.linalg.norm(centroids[0])


def deleted(network, rows: TokenRows, centroids, pooling: str = "cell") -> np.ndarray:
    """Delete every token of every cell in turn, and embed what is left."""
    owner = np.repeat(np.arange(len(rows)), rows.lengths)
    out = []
    for place, cell in enumerate(owner):
        whole, kept = rows.take(np.array([cell])), np.arange(rows.indptr[cell], rows.indptr[cell + 1]) != place
        counted = kept if pooling == "mean" else None
        before = embed_rows(network, whole, pooling=pooling, counted=counted, **CPU)
        after = embed_rows(network, whole.select(kept), pooling=pooling, **CPU)
        cosines = [state_cosines(one, centroids, np.zeros((1, 1), dtype=np.int64))[0, 0] for one in (before, after)]
        out.append(cosines[1] - cosines[0])
    return np.array(out)


def calm(network, scale: float = 0.3):
    """Make the layers' weights smaller."""
    with torch.no_grad():
        for layer in network.bert.encoder.layer:
            for part in layer.modules():
                if isinstance(part, nn.Linear):
                    part.weight.mul_(scale)
        network.bert.embeddings.position_embeddings.weight.mul_(scale)
    return network


def same_place(network):
    """Make all positions alike."""
    with torch.no_grad():
        table = network.bert.embeddings.position_embeddings.weight
        table.copy_(table[:1].expand_as(table).clone())
    return network


@pytest.mark.parametrize(("objective", "pooling"), [("cell", "cell"), ("cell", "mean"), ("mlm", "mean")])
def test_is_the_derivative_that_transformers_gives(make_network, make_rows, objective, pooling):
    """By differences through BERT as it comes, with a mask of numbers: a key fades while later tokens step up."""
    network, rows, h = make_network(objective), make_rows([6]), 0.02
    shares = (0.5,) if pooling == "cell" else (0.5 - 0.5 / 3**0.5, 0.5 + 0.5 / 3**0.5)
    centroids, front = goals_for(network, pooling), int(objective == "cell")
    tokens, values = torch.from_numpy(rows.tokens)[None].long(), torch.from_numpy(rows.values)[None]
    embeddings = network.bert.embeddings
    words = embeddings.word_embeddings(tokens)
    if front:
        shown = network.value_encoder(values.unsqueeze(-1))
        words = torch.cat([embeddings.word_embeddings.weight[2].expand(1, 1, -1), words + shown], dim=1)
    table = embeddings.position_embeddings.weight

    def cosine(place: int, amount: float, share: float) -> float:
        moved = words.clone()
        for token in range(1, 6):
            way = share + amount * (token > place)
            moved[0, front + token] += way * (table[front + token - 1] - table[front + token])
        mask = torch.zeros(1, 1, 6 + front, 6 + front)
        mask[..., front + place] = -amount
        out = network.bert(inputs_embeds=moved, attention_mask=mask, output_hidden_states=True)
        if pooling == "cell":
            vector = network.cell_vectors(out.last_hidden_state)
        else:
            vector = out.hidden_states[-2][:, front:].mean(1)
        return state_cosines(vector.numpy(), centroids, np.zeros((1, 1), dtype=np.int64))[0, 0]

    with torch.no_grad():
        slopes = [
            np.mean([(cosine(place, h, share) - cosine(place, -h, share)) / (2 * h) for share in shares])
            for place in range(6)
        ]
    assert np.ptp(slopes) > 1e-2
    np.testing.assert_allclose(estimate(network, rows, centroids, pooling=pooling), slopes, atol=0.01 * np.ptp(slopes))


@pytest.mark.parametrize("measured", [slice(None), slice(0, 25)])
def test_the_code_is_exact(make_network, make_rows, measured):
    """The cell token is held still, so the code is all that changes."""
    network, rows = make_network(**CODE), make_rows([9, 14, 2])
    panel = np.zeros(30, dtype=bool)
    panel[measured] = True
    panel[rows.tokens - N_SPECIAL] = True
    rows = dataclasses.replace(rows, panel=panel)
    with torch.no_grad():
        network.cell_norm.weight.zero_()
    centroids = goals_for(network, "cell")
    exact = deleted(network, rows, centroids)
    assert exact.std() > 1e-2
    found = estimates(network, rows, centroids)
    np.testing.assert_allclose(found.total[:, 0] / np.linalg.norm(centroids[0]), exact, atol=2e-6)
    np.testing.assert_allclose(found.linear, found.total, atol=2e-6)
    centroids = goals_for(network, "code")
    alone = deleted(network, rows, centroids, "code")
    assert alone.std() > 1e-2
    np.testing.assert_allclose(estimate(network, rows, centroids, pooling="code"), alone, atol=2e-6)


@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_the_start_of_the_cell_token(make_network, make_rows, pooling):
    """What a faint link from the code to the cell token adds to the estimate is what it adds to the exact shift."""
    network, rows = same_place(make_network(**CODE, n_layers=3)), make_rows([9, 14])
    centroids, link = goals_for(network, pooling), network.code_to_cell.weight.detach() * 0.01
    found = []
    for scale in (0, 1):
        with torch.no_grad():
            network.code_to_cell.weight.copy_(link * scale)
        found.append((estimate(network, rows, centroids, pooling=pooling), deleted(network, rows, centroids, pooling)))
    added, exact = found[1][0] - found[0][0], found[1][1] - found[0][1]
    assert np.corrcoef(added, exact)[0, 1] > 0.9
    assert np.polyfit(exact, added, 1)[0] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("objective", "pooling", "code"),
    [("cell", "cell", {}), ("cell", "cell", CODE), ("cell", "mean", CODE), ("mlm", "mean", {})],
)
def test_ranks_as_deletion_does(make_network, make_rows, objective, pooling, code):
    network, rows = calm(make_network(objective, **code)), make_rows([20, 17, 20, 12])
    centroids = goals_for(network, pooling)
    found, exact = estimate(network, rows, centroids, pooling=pooling), deleted(network, rows, centroids, pooling)
    assert spearmanr(found, exact)[0] > 0.9
    assert np.polyfit(found, exact, 1)[0] == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("pooling", ["cell", "mean"])
@pytest.mark.parametrize("batch_tokens", [1, 30, np.int64(64), "auto"])
def test_order_and_batches_have_no_say(make_network, make_rows, pooling, batch_tokens):
    network, rows = make_network(**CODE), make_rows([3, 20, 0, 1, 20, 7, 12])
    vectors, order = goals_for(network, pooling, 3), np.array([4, 0, 6, 2, 5, 1, 3])
    first = estimates(network, rows, vectors, pooling=pooling, batch_tokens=10_000)
    second = estimates(network, rows.take(order), vectors, pooling=pooling, batch_tokens=batch_tokens)
    bounds = list(zip(rows.indptr, rows.indptr[1:], strict=False))
    for part in ("total", "size", *(["linear"] if pooling == "cell" else [])):
        found, again = getattr(first, part), getattr(second, part)
        pieces = [found[start:stop] for start, stop in bounds]
        np.testing.assert_allclose(again, np.concatenate([pieces[cell] for cell in order]), atol=1e-5)


@pytest.mark.parametrize("pooling", ["cell", "code", "mean"])
def test_changes_are_linear_in_the_vectors_asked_for(make_network, make_rows, pooling):
    """Several at once, sums of them, and longer ones: that of a cell's direction, of which the cosine is made."""
    network, rows = make_network(**CODE), make_rows([8, 8])
    vectors = goals_for(network, pooling, 3)
    asked = np.concatenate([vectors, [vectors[0] + 2 * vectors[1], 7 * vectors[2]]])
    found = estimates(network, rows, asked, pooling=pooling)
    alone = [estimates(network, rows, one[None], pooling=pooling) for one in asked]
    parts = ["total"] if pooling == "mean" else ["total", "linear"]
    assert (found.linear is None) == (pooling == "mean")
    for part in parts:
        values = getattr(found, part)
        assert values.shape == (16, 5) and values.std() > 1e-3
        np.testing.assert_allclose(values, np.column_stack([getattr(one, part) for one in alone]), atol=2e-5)
        np.testing.assert_allclose(values[:, 3], values[:, 0] + 2 * values[:, 1], atol=2e-5)
        np.testing.assert_allclose(values[:, 4], 7 * values[:, 2], atol=2e-5)


def test_a_vector_of_length_0_is_moved_towards_by_nothing(make_network, make_rows):
    network, rows = make_network(**CODE), make_rows([8])
    vectors = goals_for(network, "cell")
    with_zero = estimates(network, rows, np.stack([vectors[0], 0 * vectors[0]]))
    assert not with_zero.total[:, 1].any()
    np.testing.assert_allclose(with_zero.total[:, 0], estimates(network, rows, vectors[:1]).total[:, 0], atol=2e-6)


@pytest.mark.parametrize(("positions", "off"), [("alike", 1e-5), ("learnt", 0.01)])
def test_the_linear_part_is_that_of_the_code_beside_the_old_token(make_network, make_rows, positions, off):
    """And the size is how far the cell's direction moves by it; exact where a step between positions moves nothing."""
    network, rows = make_network(**CODE), make_rows([9, 14])
    if positions == "alike":
        same_place(network)
    vectors = goals_for(network, "cell")
    found, owner = estimates(network, rows, vectors), np.repeat([0, 1], [9, 14])
    whole = embed_rows(network, rows, pooling="cell", **CPU).astype(float)
    for place, cell in enumerate(owner):
        kept = np.arange(rows.indptr[cell], rows.indptr[cell + 1]) != place
        left = rows.take(np.array([cell])).select(kept)
        after = np.concatenate([whole[[cell], :16], embed_rows(network, left, pooling="code", **CPU)], axis=1)
        change = unit_vectors(after)[0] - unit_vectors(whole[[cell]])[0]
        np.testing.assert_allclose(found.linear[place], vectors @ change, atol=off)
        assert found.size[place] == pytest.approx(np.linalg.norm(change), abs=max(off, 1e-4))
    assert np.abs(found.total - found.linear).max() > 1e-2
    assert found.size.max() > 0.15 and np.abs(found.linear).max() > 0.3


def test_the_size_of_a_mean_is_the_root_mean_square_over_vectors(make_network, make_rows):
    network, rows = make_network(**CODE), make_rows([9, 14])
    vectors = goals_for(network, "mean", 4)
    found = estimates(network, rows, vectors, pooling="mean")
    cosines = found.total / np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(found.size, np.sqrt((cosines**2).mean(1)))


@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_where_there_is_nothing_to_say(make_network, make_rows, pooling):
    """A cell with one token is empty without it."""
    network, rows = make_network(**CODE), make_rows([0, 1, 5, 0, 4])
    found = estimates(network, rows, goals_for(network, pooling), pooling=pooling)
    assert found.total.dtype == np.float64
    for values in (found.total[:, 0], found.total[:, 1], found.size):
        np.testing.assert_array_equal(np.isnan(values), [True] + [False] * 9)
    for lengths in ([], [0], [0, 0]):
        assert estimates(network, make_rows(lengths), goals_for(network, pooling), pooling=pooling).total.shape == (
            0,
            2,
        )


def test_parameters_are_left_as_they_were(make_network, make_rows):
    network = make_network(**CODE).train()
    network.cls.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    with torch.no_grad():
        found = estimate(network, make_rows([6, 3]), goals_for(network, "cell"))
    assert np.isfinite(found).all()
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [parameter.requires_grad for parameter in network.parameters()] == wanted
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


def test_the_bar_counts_cells(make_network, make_rows):
    class Bar:
        n = 0

        def update(self, n: int) -> None:
            self.n += n

    network, rows, bar = make_network(), make_rows([4, 0, 9, 1, 4]), Bar()
    estimate(network, rows, goals_for(network, "cell"), batch_tokens=4, bar=bar)
    assert bar.n == 5


def test_one_layer_averages_the_input(make_network, make_rows):
    """Nothing attends before the second-to-last layer of one, so only positions count."""
    network, rows = make_network("mlm", n_layers=1), make_rows([6])
    centroids = goals_for(network, "mean")
    found = estimate(network, rows, centroids, pooling="mean")
    assert np.abs(found[:-1]).min() > 0
    assert not estimate(same_place(network), rows, centroids, pooling="mean").any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("pooling", ["cell", "mean"])
def test_narrow_numbers_come_close(make_network, make_rows, pooling, dtype):
    network, rows = make_network(**CODE), make_rows([9, 4, 20])
    centroids = goals_for(network, pooling)
    wide = estimate(network, rows, centroids, pooling=pooling)
    assert np.corrcoef(wide, estimate(network, rows, centroids, pooling=pooling, dtype=dtype))[0, 1] > 0.98


def test_what_cannot_be(make_network, make_rows):
    network, rows = make_network(max_len=8), make_rows([9])
    centroids = goals_for(network, "cell")
    with pytest.raises(ValueError, match="A cell has 9 tokens, and the network reads 8; cut the cells first"):
        estimate(network, rows, centroids)
    with pytest.raises(ValueError, match="pooling='max' is unknown; expected 'cell', 'code' or 'mean'"):
        estimate(network, rows, centroids, pooling="max")
    with pytest.raises(ValueError, match="pooling='cell' needs a model with a cell token"):
        estimate(make_network("mlm"), rows, centroids)
    with pytest.raises(ValueError, match="must be 'auto' or a whole number of at least 1"):
        estimate(network, make_rows([4]), centroids, batch_tokens=0)
