"""A model's vocabulary and weights, made larger by the genes of a new atlas."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch

from scflyformer.genes._vocabulary import MASK, N_SPECIAL, Vocabulary
from scflyformer.network._network import CellBert
from scflyformer.training._medians import combine_medians, rounded
from scflyformer.training._objective import MaskedCells

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.training._store import TokenStore

GROWS = {
    "bert.embeddings.word_embeddings.weight": (0, N_SPECIAL, "mask"),
    "cls.predictions.bias": (0, N_SPECIAL, "zero"),
    "profile_decoder.weight": (0, 0, "mean"),
    "profile_decoder.bias": (0, 0, "zero"),
    "profile_encoder.directions": (0, 0, "zero"),
    "profile_encoder.contrast_directions": (0, 0, "zero"),
    "profile_encoder.centre": (0, 0, "zero"),
}
"""Parameters with an entry a gene: the axis of the genes, the entries in front of the first, and where a new one
starts: near the mean of the old genes, at zero, or near the mask, which the network reads as a gene it is not told."""
_OUTPUTS = (("token_logits", "cls.predictions.bias", "cells"), ("profile_logits", "profile_decoder.bias", "share"))
"""Outputs over genes, the bias behind each, and the abundance that it follows."""
NOISE = 0.1
"""What tells new genes apart: noise of this share of the old entries' standard deviation."""
_CHUNK_CELLS = 8192
_BALANCE_CELLS = 64


def extend_vocabulary(
    vocabulary: Vocabulary,
    names: np.ndarray,
    symbols: np.ndarray,
    *,
    medians: np.ndarray,
    n_cells: np.ndarray,
    min_cells: int,
) -> tuple[Vocabulary, np.ndarray]:
    """Append genes that enough cells express to a vocabulary; its own genes stay as they are.

    ``medians`` (non-zero, NaN where never seen) and ``n_cells`` (that express the gene) are by source, over the
    vocabulary's genes and then the new ones, shape (n_sources, n_genes + n_new). Medians are brought to the
    vocabulary's scale through its genes. Return the vocabulary, and which of the n_genes + n_new genes it holds, as
    positions.
    """
    n_old = vocabulary.n_genes
    nothing = np.zeros(len(names))
    before = np.concatenate([vocabulary.medians, nothing + np.nan]), np.r_[np.maximum(vocabulary.n_cells, 1), nothing]
    scaled = combine_medians(np.vstack([before[0], medians]), np.vstack([before[1], n_cells]), first=0)
    seen = n_cells.sum(0)
    new = np.flatnonzero(seen[n_old:] >= min_cells)
    extended = Vocabulary(
        gene_ids=np.concatenate([vocabulary.gene_ids, names[new]]),
        symbols=np.concatenate([vocabulary.symbols, symbols[new]]),
        medians=np.concatenate([vocabulary.medians, rounded(scaled[n_old + new])]),
        n_cells=np.concatenate([vocabulary.n_cells, seen[n_old + new]]),
        synonyms=np.concatenate([vocabulary.synonyms, np.full(len(new), "")]),
    )
    return extended, np.concatenate([np.arange(n_old), n_old + new])


def gene_abundance(store: TokenStore, cells: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many ``cells`` express each gene, and its mean ``share`` of a cell's counts, shape (n_genes,)."""
    n_genes = store.panels.shape[1]
    found = {"cells": np.zeros(n_genes), "share": np.zeros(n_genes)}
    for start in range(0, len(cells), _CHUNK_CELLS):
        rows = store.rows(cells[start : start + _CHUNK_CELLS])
        genes, cell = rows.tokens - N_SPECIAL, np.repeat(np.arange(len(rows)), rows.lengths)
        counts = np.expm1(rows.values) * store.medians[genes]
        totals = np.bincount(cell, weights=counts, minlength=len(rows))
        found["cells"] += np.bincount(genes, minlength=n_genes)
        found["share"] += np.bincount(genes, weights=counts / totals[cell] / len(cells), minlength=n_genes)
    return found


def extend_on(network: CellBert, store: TokenStore, cells: np.ndarray, *, seed: int) -> CellBert:
    """Return a network with entries for all genes of ``store``, the new ones expected as often as in ``cells``."""
    n_genes, n_old = store.panels.shape[1], network.n_genes
    larger = extend_network(network, n_genes, seed=seed)
    balance_new_genes(larger, n_genes - n_old, store, cells, seed=seed)
    return larger


def balance_new_genes(network: CellBert, n_new: int, store: TokenStore, cells: np.ndarray, *, seed: int) -> None:
    """Set the biases of the last ``n_new`` genes from ``cells``: see :func:`balance`."""
    objective = "cell" if network.has_cell_token else "mlm"
    data = MaskedCells(store, objective=objective, max_len=network.bert_len, seed=seed, subsample=False)
    by_length = cells[np.argsort(store.lengths[cells], kind="stable")]
    middle = by_length[store.lengths[by_length] > 0]
    middle = middle[max(len(middle) // 2 - _BALANCE_CELLS // 2, 0) :][:_BALANCE_CELLS]
    balance(network, n_new, data.__getitems__([0, *middle]), gene_abundance(store, cells))


def extend_network(network: CellBert, n_genes: int, *, seed: int) -> CellBert:
    """Return a copy of a network with entries for further genes, which come last; what it had stays bit for bit.

    ``n_genes`` is their number in all; ``seed`` that of the noise that tells new genes apart.
    """
    config = deepcopy(network.config)
    config.vocab_size = n_genes + N_SPECIAL
    larger = CellBert(config)
    had = dict(network.named_parameters())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in larger.named_parameters():
            if name not in GROWS:
                parameter.copy_(had[name])
                continue
            axis, n_before, start = GROWS[name]
            old = had[name].movedim(axis, 0)
            genes = old[n_before:]
            new = torch.zeros(n_genes - len(genes), *genes.shape[1:])
            if start != "zero":
                noise = NOISE * genes.std(0, correction=0) * torch.randn(new.shape, generator=generator)
                new = (old[MASK] if start == "mask" else genes.mean(0)) + noise
            parameter.movedim(axis, 0).copy_(torch.cat([old, new]))
    return larger.train(network.training)


def balance(network: CellBert, n_new: int, batch: dict[str, Tensor], abundance: dict[str, np.ndarray]) -> None:
    """Set the biases of the last ``n_new`` genes so that they are expected as often as they occur.

    Each output's biases become the log of the new genes' abundance and a constant, by which all of them together weigh
    against the genes the network knew as they do in the new atlas, on average over the cells of ``batch``.

    ``batch`` holds cells as :class:`~scflyformer.training._objective.MaskedCells` gives them, ``abundance`` what
    :func:`gene_abundance` does.
    """
    was_training = network.training
    with torch.no_grad():
        read = (batch["tokens"], batch["values"], batch["selected"], batch["panel"])
        found = network.eval()(*read, shown=batch.get("shown"))
    network.train(was_training)
    parameters = dict(network.named_parameters())
    unmeasured = ~batch["panel"][:, :-n_new]
    for output, name, key in _OUTPUTS:
        if output not in found:
            continue
        logits = found[output].unflatten(0, (len(unmeasured), -1))[..., -len(abundance[key]) :]
        known = logits[..., :-n_new].masked_fill(unmeasured[:, None], -torch.inf).logsumexp(-1)
        bias = parameters[name].data[-n_new:]
        constant = (known - (logits[..., -n_new:] - bias).mean(-1)).mean()
        rare = abundance[key][abundance[key] > 0].min()
        share = np.maximum(abundance[key], rare) / max(abundance[key][:-n_new].sum(), rare)
        bias.copy_(torch.from_numpy(np.log(share[-n_new:])).to(bias.dtype) + constant)
