"""Passing proves: the network is asked what the contract says, the same for a seed, and never shown the answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.genes._vocabulary import MASK, N_SPECIAL, PAD
from scflyformer.training._objective import MASK_SHARE, PROFILE_WEIGHT, MaskedCells, TokenBudgetBatches, losses


@pytest.fixture
def store(make_store):
    """400 and 200 cells over 90 genes; the second source did not measure the first thirty."""
    panels = np.ones((2, 90), dtype=bool)
    panels[1, :30] = False
    return make_store((400, 200), n_genes=90, panels=panels, density=0.7)[0]


def masked(store, **asked) -> MaskedCells:
    return MaskedCells(store, **({"objective": "cell", "max_len": 80, "seed": 1, "subsample": False} | asked))


def batches(store, **asked) -> TokenBudgetBatches:
    asked = {"batch_tokens": 500, "max_len": 80, "seed": 1} | asked
    return TokenBudgetBatches(store, np.arange(len(store)), **asked)


def fake(lengths: list[int]) -> SimpleNamespace:
    return SimpleNamespace(lengths=np.array(lengths, dtype=np.int64))


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=120), st.integers(1, 90), st.integers(1, 50), st.integers(0, 9)
)
def test_every_cell_once_a_pass_within_the_budget(lengths, budget, max_len, seed):
    cells = np.arange(len(lengths))
    if not any(lengths):
        with pytest.raises(ValueError, match="has an expressed gene"):
            TokenBudgetBatches(fake(lengths), cells, batch_tokens=budget, max_len=max_len, seed=seed)
        return
    sampler = TokenBudgetBatches(fake(lengths), cells, batch_tokens=budget, max_len=max_len, seed=seed)
    found = list(sampler)
    assert len(found) == len(sampler) == sampler.per_pass
    assert [batch[0] for batch in found] == list(range(len(found)))
    assert sorted(cell for batch in found for cell in batch[1:]) == np.flatnonzero(lengths).tolist()
    for batch in found:
        own = np.minimum(np.array(lengths)[batch[1:]], max_len)
        assert own.sum() - own.max() < budget  # at most one cell over
        assert own.min() * len(own) <= budget + own.max()


@pytest.mark.parametrize("n_batches", [1, 7, 500])
def test_as_many_batches_as_asked_for(store, n_batches):
    """A pass may have fewer batches than the first: the run does not end early."""
    sampler = batches(store)
    sampler.n_batches = n_batches
    found = list(sampler)
    assert len(found) == n_batches
    assert [batch[0] for batch in found] == list(range(n_batches))


def test_the_same_for_a_seed_and_new_for_each_pass(store):
    first, second = batches(store), batches(store)
    first.n_batches = second.n_batches = 2 * first.per_pass
    found = list(first)
    assert found == list(second)
    assert found[: first.per_pass] != list(batches(store, seed=2))
    assert [batch[1:] for batch in found[: first.per_pass]] != [batch[1:] for batch in found[first.per_pass :]]


def test_some_cells_only(store):
    cells = np.array([3, 77, 410])
    sampler = TokenBudgetBatches(store, cells, batch_tokens=500, max_len=80, seed=0)
    assert sorted(cell for batch in sampler for cell in batch[1:]) == cells.tolist()


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_a_batch_is_unpadded_and_in_rank_order(store, objective):
    data = masked(store, objective=objective)
    for batch in batches(store):
        found = data.__getitems__(batch)
        tokens, selected, values = (found[name].numpy() for name in ("tokens", "selected", "values"))
        cells = np.array(batch[1:])
        rows = store.rows(cells)
        assert tokens.shape == values.shape == selected.shape
        assert tokens.shape == (len(cells), min(rows.lengths.min(), 80))
        assert PAD not in tokens
        for place in range(len(cells)):
            own = slice(rows.indptr[place], rows.indptr[place + 1])
            rank = {token: number for number, token in enumerate(rows.tokens[own].tolist())}
            truth = tokens[place].copy()
            truth[selected[place]] = found["targets"].numpy()[np.nonzero(selected)[0] == place]
            ranks = [rank[token] for token in truth.tolist()]
            assert ranks == sorted(ranks)
            assert objective == "cell" or ranks == list(range(len(ranks)))  # the article keeps the highest ranks
            kept = ~selected[place]
            np.testing.assert_array_equal(values[place][kept], rows.values[own][ranks][kept])


def test_fifteen_per_cent_selected_and_values_hidden_there(store):
    data = masked(store)
    for batch in batches(store):
        found = data.__getitems__(batch)
        length = found["tokens"].shape[1]
        assert (found["selected"].sum(1) == max(round(MASK_SHARE * length), 1)).all()
        assert (found["values"][found["selected"]] < 0).all()
        assert (found["values"][~found["selected"]] >= 0).all()
        assert len(found["targets"]) == int(found["selected"].sum())


def test_shares_of_masked_random_and_kept(store):
    """Of the selected 80 % are masked, 10 % random, 10 % kept; a random gene is the true one once in 90 times."""
    data = masked(store)
    n = np.zeros(3)
    picks = []
    for number in range(300):
        found = data.__getitems__([number, *range(number, number + 8)])
        shown, truth = found["tokens"][found["selected"]].numpy(), found["targets"].numpy()
        masks, kept = shown == MASK, shown == truth
        n += [masks.sum(), kept.sum(), (~masks & ~kept).sum()]
        picks.append(shown[~masks & ~kept])
        assert (found["tokens"][~found["selected"]] >= N_SPECIAL).all()
    assert n.sum() > 7000
    np.testing.assert_allclose(n / n.sum(), [0.8, 0.1 + 0.1 / 90, 0.1 * 89 / 90], atol=0.015)
    swapped = np.concatenate(picks)
    assert swapped.min() >= N_SPECIAL
    assert swapped.max() < 90 + N_SPECIAL
    assert len(np.unique(swapped)) > 80


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_a_gene_that_was_not_measured_is_never_shown(store, objective):
    """Random genes in place of the true ones are drawn evenly from what the cell's own source measured."""
    data = masked(store, objective=objective)
    times = np.zeros((2, 93), dtype=int)
    for number in range(150):
        cells = np.r_[number : number + 4, 400 + number : 404 + number]
        found = data.__getitems__([number, *cells])
        np.testing.assert_array_equal(found["panel"], store.panels[store.source[cells]])
        tokens, selected = found["tokens"].numpy(), found["selected"].numpy()
        truth = np.zeros_like(tokens)
        truth[selected] = found["targets"].numpy()
        row, place = np.nonzero(selected & (tokens != MASK) & (tokens != truth))
        np.add.at(times, (store.source[cells][row], tokens[row, place]), 1)
        for source in (0, 1):
            seen = truth[store.source[cells] == source]
            assert store.panels[source, seen[seen > 0] - N_SPECIAL].all()
    assert not times[:, :N_SPECIAL].any()
    assert not times[1, N_SPECIAL : N_SPECIAL + 30].any()
    assert times[1].sum() > 100
    for source in (0, 1):
        drawn = times[source, N_SPECIAL:][store.panels[source]]
        assert (drawn > 0).mean() > 0.6
        assert drawn.max() < 8 * drawn.mean()


def test_every_rank_is_selected_alike(store):
    data = masked(store, objective="mlm")
    hits = sum(data.__getitems__([number, *range(100)])["selected"][:, :10].sum(0).numpy() for number in range(40))
    np.testing.assert_allclose(hits / hits.mean(), 1, atol=0.15)


@pytest.mark.parametrize("subsample", [False, True])
def test_a_batch_depends_on_seed_and_number_alone(store, subsample):
    batch = [17, 3, 400, 55]
    once = masked(store, subsample=subsample)
    for number in range(5):
        once.__getitems__([number, 1, 2])
    first, again = once.__getitems__(batch), masked(store, subsample=subsample).__getitems__(batch)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in (masked(store, seed=2, subsample=subsample).__getitems__(batch), once.__getitems__([18, *batch[1:]])):
        same = other["tokens"].shape == first["tokens"].shape and torch.equal(other["tokens"], first["tokens"])
        assert not same


def test_training_shows_fewer_tokens_and_held_out_cells_all(store):
    cells = [5, 6, 7]
    shortest = store.lengths[cells].min()
    seen = {masked(store, subsample=True).__getitems__([n, *cells])["tokens"].shape[1] for n in range(60)}
    assert min(seen) >= int(0.4 * shortest)
    assert max(seen) <= shortest
    assert len(seen) > 5
    assert {masked(store).__getitems__([n, *cells])["tokens"].shape[1] for n in range(5)} == {shortest}


def test_one_gene_is_still_asked_for(make_store):
    counts = np.zeros((2, 4), dtype=int)
    counts[0, 2] = 5
    counts[1, :3] = 1
    store, _ = make_store((2,), n_genes=4, counts=counts)
    found = masked(store, subsample=True).__getitems__([0, 0, 1])
    assert found["tokens"].shape == (2, 1)
    assert found["selected"].all()


def test_longer_than_the_network(store):
    assert masked(store, max_len=9).__getitems__([0, 1, 2, 3])["tokens"].shape == (3, 9)


def test_profile_is_the_share_of_counts_over_the_panel(make_store):
    panels = np.ones((2, 40), dtype=bool)
    panels[1, :15] = False
    store, counts = make_store((30, 20), panels=panels)
    cells = [2, 29, 30, 49]
    found = masked(store).__getitems__([0, *cells])
    profile = found["profile"].numpy()
    np.testing.assert_allclose(profile.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(profile, counts[cells] / counts[cells].sum(1, keepdims=True), rtol=5e-3)
    np.testing.assert_array_equal(found["panel"].numpy(), panels[[0, 0, 1, 1]])
    assert not profile[~found["panel"].numpy()].any()
    assert "profile" not in masked(store, objective="mlm").__getitems__([0, *cells])


def outcome(batch: dict, profile_logits: torch.Tensor, token_logits: torch.Tensor | None = None):
    """Return a network that always answers the same."""
    if token_logits is None:
        token_logits = torch.zeros(len(batch["targets"]), batch["panel"].shape[1] + N_SPECIAL)
    return lambda *_: {"token_logits": token_logits, "profile_logits": profile_logits}


def test_the_true_profile_costs_nothing_and_unmeasured_genes_do_not_count(store):
    batch = masked(store).__getitems__([0, 1, 2, 450, 451])
    assert not batch["panel"][2:, :30].any()
    truth = batch["profile"].clamp(min=1e-30).log()
    found = losses(outcome(batch, truth), batch)
    torch.testing.assert_close(found["profile"], torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(found["loss"], found["mlm"] + PROFILE_WEIGHT * found["profile"])
    loud = torch.where(batch["panel"], truth, 50.0)
    torch.testing.assert_close(losses(outcome(batch, loud), batch)["profile"], found["profile"])


def test_losses_against_scipy(store):
    from scipy.special import log_softmax
    from scipy.stats import entropy

    batch = masked(store).__getitems__([0, 1, 2, 450, 451])
    generator = torch.Generator().manual_seed(0)
    decoded = torch.randn(batch["profile"].shape, generator=generator)
    logits = torch.randn(len(batch["targets"]), 93, generator=generator)
    found = losses(outcome(batch, decoded, logits), batch)
    expected = []
    for truth, own, panel in zip(batch["profile"].numpy(), decoded.numpy(), batch["panel"].numpy(), strict=True):
        expected.append(entropy(truth[panel], np.exp(log_softmax(own[panel].astype(float)))))
    np.testing.assert_allclose(float(found["profile"]), np.mean(expected), rtol=1e-4)
    nats = []
    rows = np.nonzero(batch["selected"].numpy())[0]
    for own, target, row in zip(logits.numpy(), batch["targets"], rows, strict=True):
        candidates = np.flatnonzero(batch["panel"][row]) + N_SPECIAL
        nats.append(-log_softmax(own[candidates].astype(float))[candidates.searchsorted(int(target))])
    np.testing.assert_allclose(float(found["mlm"]), np.mean(nats), rtol=1e-5)


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_a_gene_that_was_not_measured_is_no_wrong_answer(store, objective):
    """Its logit changes no loss and gets no gradient; a measured gene's does both."""
    batch = masked(store, objective=objective).__getitems__([0, 1, 2, 450, 451])
    row = torch.nonzero(batch["selected"])[:, 0]
    candidate = torch.nn.functional.pad(batch["panel"], (N_SPECIAL, 0), value=False)[row]
    assert candidate[torch.arange(len(row)), batch["targets"]].all()
    assert (~candidate[:, N_SPECIAL:]).any()
    quiet = torch.randn(candidate.shape, generator=torch.Generator().manual_seed(0))
    found = []
    for logits in (quiet, torch.where(candidate, quiet, 50.0), torch.where(candidate, quiet * 2, quiet)):
        logits = logits.clone().requires_grad_()
        found.append(losses(outcome(batch, torch.zeros(batch["panel"].shape), logits), batch)["mlm"])
        found[-1].backward()
        assert torch.isfinite(logits.grad).all()
        assert not logits.grad[~candidate].any()
        assert logits.grad[candidate].all()
    torch.testing.assert_close(found[0], found[1])
    assert abs((found[0] - found[2]).item()) > 0.01


def test_gradients_are_finite_where_genes_were_not_measured(store):
    batch = masked(store).__getitems__([0, 450, 451])
    decoded = torch.randn(batch["profile"].shape, requires_grad=True)
    losses(outcome(batch, decoded), batch)["loss"].backward()
    assert torch.isfinite(decoded.grad).all()
    assert not decoded.grad[~batch["panel"]].any()
