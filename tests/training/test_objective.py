"""Passing proves: the network is asked what the contract says, the same for a seed, and never shown the answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.genes._vocabulary import MASK, N_SPECIAL, PAD
from scflyformer.training._batches import TokenBudgetBatches
from scflyformer.training._objective import (
    CONTRAST_WEIGHT,
    MASK_SHARE,
    PROFILE_WEIGHT,
    MaskedCells,
    losses,
)


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


def truth_of(found: dict) -> np.ndarray:
    """Return the tokens that the network reads before any was hidden."""
    tokens, targets = found["tokens"].numpy().copy(), found["targets"].numpy()
    cell, place = np.nonzero(found["selected"].numpy())
    tokens[cell, found["shown"].numpy()[cell, place] if "shown" in found else place] = targets
    return tokens


def asked(found: dict, name: str) -> np.ndarray:
    """Return the entries of ``name`` at the tokens that BERT reads, shape (n, n_shown)."""
    return (found[name].gather(1, found["shown"]) if "shown" in found else found[name]).numpy()


def test_mlm_reads_the_highest_ranks_unpadded(store):
    data = masked(store, objective="mlm")
    for batch in batches(store):
        found = data.__getitems__(batch)
        rows = store.rows(np.array(batch[1:]))
        length = min(rows.lengths.min(), 80)
        for place, truth in enumerate(truth_of(found)):
            own = slice(rows.indptr[place], rows.indptr[place] + length)
            np.testing.assert_array_equal(truth, rows.tokens[own])
            kept = ~found["selected"].numpy()[place]
            np.testing.assert_array_equal(found["values"].numpy()[place][kept], rows.values[own][kept])


def whole_store(make_store):
    """Return 60 cells whose smallest count is 1, and their counts."""
    random = np.random.default_rng(3)
    counts = random.poisson(4, (60, 50)) * (random.random((60, 50)) < 0.7)
    counts[:, 0] = 1
    return make_store((60,), n_genes=50, counts=counts)


def test_the_half_read_and_the_other_add_up_to_the_cell(make_store):
    """Both are values of whole counts of the cell, each gene's relative size in them as ranking has it."""
    store, counts = whole_store(make_store)
    groups = np.zeros(60, dtype=int)
    batch = [4, 7, 31, 12, 55]
    found = masked(store, groups=groups, subsample=True).__getitems__(batch)
    np.testing.assert_array_equal(found["own"], np.arange(4))
    assert len(found["others"]) == 60  # those of the batch, then of all the others
    shown_truth = truth_of(found)
    for place, cell in enumerate(batch[1:]):
        tokens = shown_truth[place][shown_truth[place] != PAD] - N_SPECIAL
        other = np.expm1(found["others"][place].numpy().astype(float)) * store.medians
        other /= other[other > 0].min()  # whole counts up to a factor
        absent = np.flatnonzero((counts[cell] > 0) & (other == 0))
        assert np.isin(absent, tokens).all()  # a count is in one half or the other
        assert (counts[cell][tokens] > 0).all()
        alone = np.setdiff1d(np.flatnonzero(counts[cell]), tokens)  # all of these counts are in the other half
        if len(alone) > 1:
            ratio = other[alone] / counts[cell][alone]
            np.testing.assert_allclose(ratio, ratio[0], rtol=5e-3)


@pytest.mark.parametrize("subsample", [False, True])
def test_the_two_halves_recompose_the_counts(make_store, subsample):
    """Each half's values are counts times a factor of its own: two factors a cell give back all its counts."""
    store, counts = whole_store(make_store)
    found = masked(store, groups=np.zeros(60, dtype=int), subsample=subsample).__getitems__([4, 7, 31, 12, 55])
    truth, values = truth_of(found), found["values"].numpy()
    for place, cell in enumerate([7, 31, 12, 55]):
        visible = values[place] >= 0
        halves = np.zeros((2, 50))
        halves[0, truth[place][visible] - N_SPECIAL] = np.expm1(values[place][visible])
        halves[1] = np.expm1(found["others"][found["own"][place]].numpy())
        halves *= store.medians
        hidden = truth[place][~visible & (truth[place] != PAD)] - N_SPECIAL
        known = np.setdiff1d(np.arange(50), hidden)
        factors, *_ = np.linalg.lstsq(halves[:, known].T, counts[cell][known], rcond=None)
        assert (factors > 0).all()
        np.testing.assert_allclose(factors @ halves[:, known], counts[cell][known], atol=0.05)
        np.testing.assert_allclose(factors[0] * halves[0], np.rint(factors[0] * halves[0]), atol=0.05)


def test_a_half_is_its_own_and_no_other_cells(make_store):
    """The half that `own` names fits with what is read; the halves of other cells of the batch do not."""
    store, counts = whole_store(make_store)
    cells = [7, 31, 12, 55]
    found = masked(store, groups=np.zeros(60, dtype=int)).__getitems__([4, *cells])
    fits = np.zeros((4, 60))
    for place, cell in enumerate(cells):
        read = truth_of(found)[place]
        left = np.ones(50, dtype=bool)
        left[read[read != PAD] - N_SPECIAL] = False
        others = found["others"].numpy() > 0
        expressed = counts[cell] > 0
        fits[place] = (others[:, ~expressed] == 0).all(1) & others[:, left & expressed].all(1)
    np.testing.assert_array_equal(np.flatnonzero(fits.sum(0)), found["own"])
    np.testing.assert_array_equal(fits[:, :4], np.eye(4))


def test_values_are_those_of_the_half(make_store):
    """Values of tokens that are not hidden: log1p of the median-scaled expression of the half that is read."""
    store, _ = whole_store(make_store)
    found = masked(store, subsample=True).__getitems__([1, 5, 6, 7])
    truth = truth_of(found)
    for place in range(3):
        inside = truth[place] != PAD
        values, genes = found["values"][place].numpy()[inside], truth[place][inside] - N_SPECIAL
        seen = values >= 0
        size = np.expm1(values) * store.medians[genes]
        assert (np.diff(values[seen]) <= 0).all()  # in rank order
        ratio = size[seen] / size[seen].min()
        np.testing.assert_allclose(ratio, np.rint(ratio), rtol=0.02)


def test_fifteen_per_cent_selected_and_values_hidden_there(store):
    data = masked(store)
    for batch in batches(store):
        found = data.__getitems__(batch)
        selected, values = found["selected"].numpy(), asked(found, "values")
        assert (selected.sum(1) == max(round(MASK_SHARE * selected.shape[1]), 1)).all()
        assert (values[selected] < 0).all()
        assert (values[~selected] >= 0).all()
        assert len(found["targets"]) == selected.sum()


def test_shares_of_masked_random_and_kept(store):
    """Of the selected 80 % are masked, 10 % random, 10 % kept; a random gene is the true one once in 90 times."""
    data = masked(store)
    n = np.zeros(3)
    picks = []
    for number in range(400):
        found = data.__getitems__([number, *range(number, number + 8)])
        selected, tokens = found["selected"].numpy(), asked(found, "tokens")
        shown, truth = tokens[selected], found["targets"].numpy()
        masks, kept = shown == MASK, shown == truth
        n += [masks.sum(), kept.sum(), (~masks & ~kept).sum()]
        picks.append(shown[~masks & ~kept])
        assert (tokens[~selected] >= N_SPECIAL).all()
    assert n.sum() > 5000
    np.testing.assert_allclose(n / n.sum(), [0.8, 0.1 + 0.1 / 90, 0.1 * 89 / 90], atol=0.02)
    swapped = np.concatenate(picks)
    assert swapped.min() >= N_SPECIAL
    assert swapped.max() < 90 + N_SPECIAL
    assert len(np.unique(swapped)) > 80


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_a_gene_that_was_not_measured_is_never_shown(store, objective):
    """Random genes in place of the true ones are drawn evenly from what the cell's own source measured."""
    data = masked(store, objective=objective)
    times = np.zeros((2, 93), dtype=int)
    for number in range(250):
        cells = np.r_[number % 150 : number % 150 + 4, 400 + number % 150 : 404 + number % 150]
        found = data.__getitems__([number, *cells])
        np.testing.assert_array_equal(found["panel"], store.panels[store.source[cells]])
        tokens, selected = asked(found, "tokens"), found["selected"].numpy()
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


def test_training_shows_a_part_of_the_tokens_and_held_out_cells_all(store):
    """In training a part of the shortest half's tokens; held out all of them, each time from other halves."""
    cells = [5, 6, 7]

    def lengths(number: int, subsample: bool) -> tuple[int, int]:
        found = masked(store, subsample=subsample).__getitems__([number, *cells])
        return found["shown"].shape[1], int((found["tokens"] != PAD).sum(1).min())

    training = np.array([lengths(number, True) for number in range(60)])
    assert (training[:, 0] <= training[:, 1]).all()
    assert (training[:, 0] >= np.floor(0.4 * training[:, 1])).all()
    assert len(np.unique(training[:, 0])) > 5
    held_out = np.array([lengths(number, False) for number in range(20)])
    np.testing.assert_array_equal(held_out[:, 0], held_out[:, 1])


def test_one_gene_is_still_asked_for(make_store):
    counts = np.zeros((2, 4), dtype=int)
    counts[0, 2] = 5
    counts[1, :3] = 1
    store, _ = make_store((2,), n_genes=4, counts=counts)
    found = masked(store, subsample=True).__getitems__([0, 0, 1])
    assert found["selected"].shape == (2, 1)
    assert found["selected"].all()


def test_longer_than_the_network(store):
    """BERT is shown the highest ranks, the profile code all."""
    found = masked(store, max_len=9).__getitems__([0, 1, 2, 3])
    np.testing.assert_array_equal(found["shown"], np.tile(np.arange(9), (3, 1)))
    assert found["tokens"].shape[1] > 9
    assert masked(store, objective="mlm", max_len=9).__getitems__([0, 1, 2, 3])["tokens"].shape == (3, 9)


def test_batches_of_a_group(store):
    """Cells of one group alone share a batch, every cell once a pass, and within the budget."""
    groups = np.arange(600) % 3
    found = list(batches(store, groups=groups))
    assert all(len(np.unique(groups[batch[1:]])) == 1 for batch in found)
    assert sorted(cell for batch in found for cell in batch[1:]) == list(range(600))
    assert max(np.minimum(store.lengths, 80)[batch[1:-1]].sum() for batch in found) <= 500


def test_other_halves_are_of_the_group(store):
    """A batch's own come first; no candidate is of another group, or of a cell that is none."""
    groups = np.where(np.arange(600) < 400, np.arange(600) % 2, -1)
    found = masked(store, groups=groups).__getitems__([0, 2, 4, 6])
    assert len(found["others"]) == 200
    for place, cell in enumerate((2, 4, 6)):
        genes = np.flatnonzero(found["others"][place].numpy())
        assert np.isin(genes + N_SPECIAL, store.rows(np.array([cell])).tokens).all()
    few = np.where(np.arange(600) < 5, 0, -1)
    assert len(masked(store, groups=few).__getitems__([0, 2, 3])["others"]) == 5
    assert "others" not in masked(store).__getitems__([0, 2, 3])


def coded(n_genes: int, **options):
    """Return a small network with a profile code."""
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "feed_forward": 16, "max_len": 90, "dropout": 0.0}
    shape |= {"code_size": 8, "n_directions": 12, "bert_len": 20} | options
    return CellBert(make_config(n_genes + N_SPECIAL, NetworkShape(objective="cell", **shape))).eval()


def test_contrast_is_the_cross_entropy_of_finding_the_other_half(store):
    from scflyformer.network._network import TEMPERATURE

    groups = np.zeros(600, dtype=int)
    network = coded(90)
    batch = masked(store, groups=groups, max_len=20).__getitems__([0, 1, 2, 3, 4])
    with torch.no_grad():
        found = losses(network, batch)
        code = network.code(batch["tokens"], batch["values"], batch["panel"])
        read = [batch[name].gather(1, batch["shown"]) for name in ("tokens", "values")]
        hidden = network.bert(inputs_embeds=network._embedded(*read, None, code)[0]).last_hidden_state
        cells = network.cell_vectors(hidden).numpy()
        encoder = network.profile_encoder
        others = encoder.code(encoder.linear(batch["others"], batch["panel"][0]))
        leading = torch.cat([others[:, : encoder.size], others[:, -encoder.size :]], dim=1)  # directions, contrast
        sought = network.other_half(leading).numpy()
    cells, sought = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (cells, sought))
    logits = cells @ sought.T / TEMPERATURE
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(4), np.arange(4)]
    np.testing.assert_allclose(float(found["contrast"]), nats.mean(), rtol=1e-4)
    expected = found["mlm"] + PROFILE_WEIGHT * found["profile"] + CONTRAST_WEIGHT * found["contrast"]
    torch.testing.assert_close(found["loss"], expected)


def test_of_one_panel_only_measured_genes_get_logits(store, monkeypatch):
    """The losses are the same as where all genes get them."""
    network = coded(90)
    batch = masked(store, max_len=20).__getitems__([0, 450, 451])
    assert not batch["panel"].all()
    found = losses(network, batch)
    monkeypatch.setattr("scflyformer.training._objective.shared_panel", lambda _: None)
    general = losses(network, batch)
    for name in ("mlm", "profile", "loss"):
        torch.testing.assert_close(found[name], general[name])


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
    return lambda *_, **__: {"token_logits": token_logits, "profile_logits": profile_logits}


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
    batch = masked(store).__getitems__([0, 1, 450, 451])
    decoded = torch.randn(batch["profile"].shape, requires_grad=True)
    losses(outcome(batch, decoded), batch)["loss"].backward()
    assert torch.isfinite(decoded.grad).all()
    assert not decoded.grad[~batch["panel"]].any()
