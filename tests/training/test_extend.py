"""Passing proves: a larger vocabulary leaves what a model was and knew untouched, and new genes start sensibly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flat_options import pretrain

import scflyformer as sf
from scflyformer.genes._vocabulary import MASK, N_SPECIAL, Vocabulary
from scflyformer.network._network import CellBert, NetworkShape, make_config
from scflyformer.training._corpus import build_store
from scflyformer.training._extend import GROWS, balance, extend_network, extend_vocabulary, gene_abundance
from scflyformer.training._objective import MaskedCells, losses
from scflyformer.training._sources import CorpusRequest

N_OLD, N_NEW = 30, 12


@pytest.fixture
def known() -> Vocabulary:
    """Thirty genes with symbols; ``twice`` is an old name of two of them."""
    return Vocabulary(
        gene_ids=np.array([f"G{n:02d}" for n in range(N_OLD)]),
        symbols=np.array([f"sym{n}" for n in range(N_OLD)]),
        medians=np.random.default_rng(0).uniform(1, 9, N_OLD).astype(np.float32),
        n_cells=np.arange(100, 100 + N_OLD),
        synonyms=np.array(["twice", "twice", *[""] * (N_OLD - 2)]),
    )


def network(objective: str, n_genes: int = N_OLD) -> CellBert:
    """Return a network with nothing at zero, as after training."""
    shape = {"hidden_size": 16, "n_layers": 2, "n_heads": 2, "feed_forward": 32, "max_len": 40, "dropout": 0.1}
    shape["code_size"] = 6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(n_genes)
        made = CellBert(make_config(n_genes + N_SPECIAL, NetworkShape(objective=objective, **shape)))
        with torch.no_grad():
            for name, parameter in made.named_parameters():
                if name.endswith(("bias", "directions", "centre")):
                    parameter.normal_(std=0.3)
    return made.eval()


@pytest.fixture
def store(make_store):
    """Sixty cells of a source that measured the old genes alone, and sixty of one that measured all."""
    panels = np.ones((2, N_OLD + N_NEW), dtype=bool)
    panels[0, N_OLD:] = False
    return make_store((60, 60), n_genes=N_OLD + N_NEW, panels=panels)[0]


def extended(old: CellBert, **asked) -> CellBert:
    return extend_network(old, N_OLD + N_NEW, **({"seed": 0} | asked))


def test_old_genes_stay_and_new_ones_come_on_the_old_scale(known):
    """Sources whose counts per 10,000 are three and five times the vocabulary's, as their panels are narrower."""
    random = np.random.default_rng(1)
    true = np.concatenate([known.medians, random.uniform(1, 9, 4)])
    medians = np.stack([3 * true, 5 * true])
    medians[0, 30], medians[1, 31], medians[1, :8] = np.nan, np.nan, np.nan
    n_cells = np.where(np.isfinite(medians), 20, 0)
    n_cells[:, 33] = 1
    names, symbols = np.array(["a", "b", "c", "d"]), np.array(["A", "", "C", "D"])
    found, keep = extend_vocabulary(known, names, symbols, medians=medians, n_cells=n_cells, min_cells=3)
    assert keep.tolist() == list(range(33))
    for field in ("gene_ids", "symbols", "medians", "n_cells", "synonyms"):
        np.testing.assert_array_equal(getattr(found, field)[:N_OLD], getattr(known, field))
    assert found.gene_ids[N_OLD:].tolist() == ["a", "b", "c"]
    assert found.symbols[N_OLD:].tolist() == ["A", "", "C"]
    assert found.n_cells[N_OLD:].tolist() == [20, 20, 40]
    np.testing.assert_allclose(found.medians[N_OLD:], true[30:33], rtol=1e-5)


@pytest.mark.parametrize("new_genes", ["add", "ignore"])
def test_the_store_holds_new_genes_or_not(known, make_source, describe, tmp_path, new_genes):
    """Old genes are found by symbol, too; a name of two old genes, none at all, and a rare gene's are not new ones."""
    counts = np.random.default_rng(0).poisson(2, (50, 7))
    counts[3:, 6] = 0
    adata = make_source(counts, ["z9", "sym4", "twice", "G02", "a1", "none", "rare"])
    adata.var["id"] = [*adata.var_names[:5], None, "rare"]
    adata.var["symbol"] = ["Zed", *[""] * 6]
    narrow = make_source(counts[:, :2], ["G04", "G05"])
    sources = [describe("x", adata, gene_key="id"), describe("y", narrow)]
    request = CorpusRequest(min_cells=4, new_genes=new_genes)
    store, vocabulary, _ = build_store(sources, tmp_path / "s", request, vocabulary=known)
    np.testing.assert_array_equal(vocabulary.gene_ids[:N_OLD], known.gene_ids)
    added = new_genes == "add"
    assert vocabulary.gene_ids[N_OLD:].tolist() == (["a1", "z9"] if added else [])
    assert vocabulary.symbols[N_OLD:].tolist() == (["", "Zed"] if added else [])
    assert np.flatnonzero(store.panels[0]).tolist() == [2, 4, *([30, 31] if added else [])]
    assert np.flatnonzero(store.panels[1]).tolist() == [4, 5]
    columns = [1, 3, *([0, 4] if added else [])]
    np.testing.assert_array_equal(store.lengths[:50], (counts[:, columns] > 0).sum(1))
    if added:
        tokens = set(store.rows(np.arange(50)).tokens.tolist())
        assert tokens == {gene + N_SPECIAL for gene in (2, 4, 30, 31)}


def test_names_that_lost_their_case_are_not_new_genes(known, make_source, describe, tmp_path):
    adata = make_source(np.ones((9, 4)), ["g01", "g02", "g03", "G04"])
    with pytest.raises(ValueError, match=r"x: 1 of its genes \(such as g01, g02, g03\).*3 differ from it by case only"):
        build_store([describe("x", adata)], tmp_path / "s", CorpusRequest(min_cells=1), vocabulary=known)


def test_abundance_against_dense_arithmetic(make_store):
    store, counts = make_store((30, 20), n_genes=40)
    cells = np.arange(0, 50, 3)
    found = gene_abundance(store, cells)
    share = counts[cells] / counts[cells].sum(1, keepdims=True)
    np.testing.assert_allclose(found["share"], share.mean(0), rtol=5e-3)
    np.testing.assert_array_equal(found["cells"], (counts[cells] > 0).sum(0))


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_old_weights_are_bit_identical_and_new_ones_finite(objective):
    old = network(objective)
    before = {name: parameter.detach().clone() for name, parameter in old.named_parameters()}
    new = extended(old)
    found = dict(new.named_parameters())
    assert found.keys() == before.keys()
    grown = {name for name in found if found[name].shape != before[name].shape}
    assert grown == GROWS.keys() & found.keys()
    for name, had in before.items():
        assert torch.equal(dict(old.named_parameters())[name], had)
        axis, n_before, _ = GROWS.get(name, (0, 0, ""))
        assert torch.equal(found[name].narrow(axis, 0, had.shape[axis]), had)
        assert torch.isfinite(found[name]).all()
        if name in grown:
            assert found[name].shape[axis] == N_OLD + N_NEW + n_before
    assert new.cls.predictions.decoder.weight is new.bert.embeddings.word_embeddings.weight
    assert new.cls.predictions.decoder.bias is new.cls.predictions.bias
    assert (new.config.vocab_size, old.config.vocab_size) == (N_OLD + N_NEW + N_SPECIAL, N_OLD + N_SPECIAL)


def test_new_genes_start_near_what_says_nothing_and_differ():
    """Read as the mask is; decoded as genes are on average."""
    old = network("cell")
    one, again, other = (
        [each.bert.embeddings.word_embeddings.weight.detach(), each.profile_decoder.weight.detach()]
        for each in (extended(old), extended(old), extended(old, seed=1))
    )
    for weight, same, differs, n_before in zip(one, again, other, (N_SPECIAL, 0), strict=True):
        genes, new = weight[n_before:-N_NEW], weight[-N_NEW:]
        assert torch.equal(weight, same)
        assert not torch.equal(new, differs[-N_NEW:])
        assert len(torch.unique(new, dim=0)) == N_NEW
        centre = weight[MASK] if n_before else genes.mean(0)
        assert ((new - centre).norm(dim=1) < 0.2 * (genes - genes.mean(0)).norm(dim=1).mean()).all()


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_new_genes_are_expected_as_often_as_they_occur(store, objective):
    """Against the old genes, and among each other; old biases stay, and a gene never seen is as rare as the rarest."""
    abundance = gene_abundance(store, np.arange(len(store)))
    for figures in abundance.values():
        figures[-1] = 0
    made = extended(network(objective))
    before = {name: parameter.detach().clone() for name, parameter in made.named_parameters()}
    batch = MaskedCells(store, objective=objective, max_len=40, seed=0, subsample=False).__getitems__([0, *range(120)])
    balance(made, N_NEW, batch, abundance)
    after = dict(made.named_parameters())
    for output, name, key in (
        ("token_logits", "cls.predictions.bias", "cells"), ("profile_logits", "profile_decoder.bias", "share"),
    ):  # fmt: skip
        if name not in after:
            continue
        assert torch.equal(after[name][:-N_NEW], before[name][:-N_NEW])
        figures = np.maximum(abundance[key], abundance[key][abundance[key] > 0].min())
        steps = after[name][-N_NEW:].detach().numpy()
        np.testing.assert_allclose(steps - steps[0], np.log(figures[-N_NEW:] / figures[-N_NEW]), atol=1e-5)
        with torch.inference_mode():
            read = (batch["tokens"], batch["values"], batch["selected"])
            logits = made(*read, shown=batch.get("shown"))[output][..., -(N_OLD + N_NEW) :]
        panel = batch["panel"].repeat_interleave(len(logits) // 120, 0)[:, :N_OLD]
        known = logits[:, :N_OLD].masked_fill(~panel, -torch.inf).logsumexp(-1)
        odds = (logits[:, N_OLD:].logsumexp(-1) - known).mean().exp().item()
        np.testing.assert_allclose(odds, figures[-N_NEW:].sum() / figures[:N_OLD].sum(), rtol=0.1)
    grown = {"cls.predictions.bias", "profile_decoder.bias"}
    assert all(torch.equal(after[name], before[name]) for name in before.keys() - grown)
    assert not made.training


@pytest.mark.parametrize("objective", ["cell", "mlm"])
def test_what_was_learnt_is_kept(store, objective):
    """Where the new genes were not measured the losses are the old model's, before a step is made."""
    old = network(objective)
    new = extended(old)
    data = MaskedCells(store, objective=objective, max_len=40, seed=0, subsample=False)
    batch = data.__getitems__([0, *range(12)])
    assert not batch["panel"][:, N_OLD:].any()
    narrow = batch | {name: batch[name][:, :N_OLD] for name in ("panel", "profile") if name in batch}
    with torch.inference_mode():
        before, after = losses(old, narrow), losses(new, batch)
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-6)


def test_a_parameter_that_grows_unannounced_is_noticed(monkeypatch):
    monkeypatch.delitem(GROWS, "profile_decoder.bias")
    with pytest.raises(RuntimeError, match="size"):
        extended(network("cell"))


def test_nothing_new(known):
    none = np.array([], dtype=str)
    medians = known.medians[None].astype(float)
    found, keep = extend_vocabulary(known, none, none, medians=medians, n_cells=medians.astype(int), min_cells=1)
    assert keep.tolist() == list(range(N_OLD))
    assert found.gene_ids.tolist() == known.gene_ids.tolist()


SMALL: dict[str, Any] = {
    "hidden_size": 24, "n_layers": 1, "n_heads": 2, "max_len": 60, "batch_tokens": 400, "epochs": 25, "min_cells": 4,
    "warmup_steps": 5, "learning_rate": 5e-3, "eval_steps": 1000, "save_steps": 1000, "sample_key": "batch",
    "validation": ["b3"], "device": "cpu", "code_size": 8, "code_epochs": 1,
}  # fmt: skip
STILL = {"learning_rate": 1e-12, "epochs": 0.01, "code_epochs": 0}
"""Settings of a run whose result is where it starts."""


def atlas(make_source, n_genes: int, *, seed: int):
    """Return 160 cells of two kinds, which express either the even or the odd genes, in four samples."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 2, (160, 1))
    rate = np.where(np.arange(n_genes) % 2 == kind, 4.0, 0.05)
    genes = [f"G{n:02d}" for n in range(N_OLD)] + [f"A{n:02d}" for n in range(n_genes - N_OLD)]  # sorted before
    return make_source(random.poisson(rate), genes, batch=[f"b{n % 4}" for n in range(160)])


@pytest.fixture(scope="module")
def first(make_source, tmp_path_factory):
    """A model of thirty genes."""
    out = tmp_path_factory.mktemp("models") / "first"
    pretrain(atlas(make_source, N_OLD, seed=0), out=out, **SMALL)
    return out


def test_pretraining_goes_on_with_further_genes(first, make_source, tmp_path):
    """It starts with what was learnt, below a network with random weights, and learns on."""
    cells = atlas(make_source, N_OLD + N_NEW, seed=1)
    runs = {"start": {"init": first, **STILL}, "random": STILL, "whole": {"init": first}}
    for name, asked in runs.items():
        pretrain(cells, out=tmp_path / name, **(SMALL | asked))
    old, start, random, whole = map(sf.models.load, (first, *(tmp_path / name for name in runs)))
    for each in (start, whole):
        genes = each.vocabulary
        assert genes.gene_ids.tolist() == [*old.vocabulary.gene_ids, *(f"A{n:02d}" for n in range(N_NEW))]
        np.testing.assert_array_equal(genes.medians[:N_OLD], old.vocabulary.medians)
        assert each.metrics["vocabulary"] == {"n_genes": N_OLD + N_NEW, "n_new": N_NEW}
        told = each.provenance["init"]
        assert told == {
            "name": "first", "sha256": old.sha256, "n_genes": N_OLD, "n_new": N_NEW,
            "new_genes_such_as": [f"A{n:02d}" for n in range(8)],
        }  # fmt: skip
        assert "Genes new here: 12, such as:\nA00, A01" in (each.path / "README.md").read_text()
        assert each.config["vocab_size"] == N_OLD + N_NEW + N_SPECIAL
    had, has = old.tensors(""), start.tensors("")
    for name in (name for name in had.keys() - GROWS.keys() if not name.startswith("profile_encoder.")):
        np.testing.assert_allclose(has[name], had[name], atol=1e-9)
    begun, blank, trained = (each.metrics["held_out"] for each in (start, random, whole))
    for loss in ("mlm", "profile"):
        assert begun[loss] < blank[loss] - 0.01
        assert trained[loss] < begun[loss]
    sf.tl.embed(cells, model=whole.path)
    assert np.isfinite(cells.obsm["X_scflyformer"]).all()
    assert random.provenance["init"] is None
    assert random.metrics["vocabulary"] == {"n_genes": N_OLD + N_NEW, "n_new": 0}


def test_an_unfinished_run_with_further_genes_goes_on(first, make_source, tmp_path, monkeypatch):
    """The network is made larger again, alike, and training goes on from the checkpoint."""
    from scflyformer.training import _run

    cells = atlas(make_source, N_OLD + N_NEW, seed=1)
    asked = SMALL | {"init": first, "epochs": 2, "save_steps": 5}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(_run, "save_folder", fail)
        pretrain(cells, out=tmp_path / "stopped", **asked)
    with pytest.raises(ValueError, match="new_genes: was 'add', is 'ignore'"):
        pretrain(cells, out=tmp_path / "stopped", new_genes="ignore", **asked)
    for out in ("stopped", "whole"):
        pretrain(cells, out=tmp_path / out, **asked)
    one, whole = (sf.models.load(tmp_path / out).tensors("") for out in ("stopped", "whole"))
    for name in whole:
        np.testing.assert_array_equal(one[name], whole[name])
