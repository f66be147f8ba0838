"""Masked genes of held-out cells: what a network says of them, and what counting says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, N_SPECIAL
from scflyformer.training._objective import MASK_SHARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows

N_BINS = 48
"""Bins of rank, equally wide on a logarithmic scale."""
BATCH_TOKENS = 4096


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Cells of near-equal length, cut to the shortest; 15 % of each cell's genes are hidden.

    Attributes
    ----------
    cells
        Positions of the cells, shape (n,).
    truth
        Token ids in rank order, int64, shape (n, length); ``values`` theirs.
    selected
        The hidden ones, bool, as many in each cell, shape (n, length).
    """

    cells: np.ndarray
    truth: np.ndarray
    values: np.ndarray
    selected: np.ndarray


@dataclass(frozen=True, eq=False)
class Scores:
    """Sums over the hidden genes of each cell: nats of cross-entropy, hits of the first guess, and how many."""

    nats: np.ndarray
    hits: np.ndarray
    n: np.ndarray

    @classmethod
    def empty(cls, n_cells: int) -> Scores:
        """Return zeros."""
        return cls(*(np.zeros(n_cells) for _ in range(3)))

    def add(self, batch: MaskedBatch, log_shares: np.ndarray) -> None:
        """Add predictions: log-probability of each vocabulary gene for each hidden one, row after row."""
        genes = batch.truth[batch.selected] - N_SPECIAL
        shape = (len(batch.cells), -1)
        self.nats[batch.cells] = -log_shares[np.arange(len(genes)), genes].reshape(shape).sum(axis=1)
        self.hits[batch.cells] = (log_shares.argmax(axis=1) == genes).reshape(shape).sum(axis=1)
        self.n[batch.cells] = batch.selected.sum(axis=1)


def masked_batches(rows: TokenRows, *, seed: int = 0) -> Iterator[MaskedBatch]:
    """Yield all cells with at least one token, the same masks for a seed."""
    random = np.random.default_rng(seed)
    order = np.argsort(rows.lengths, kind="stable")
    order = order[rows.lengths[order] > 0]
    tokens = np.cumsum(rows.lengths[order])
    for cells in np.split(order, np.flatnonzero(np.diff(tokens // BATCH_TOKENS)) + 1):
        length = int(rows.lengths[cells].min())
        where = rows.indptr[cells][:, None] + np.arange(length)
        n_hidden = max(round(MASK_SHARE * length), 1)
        chosen = np.argsort(random.random(where.shape), axis=1)[:, :n_hidden]
        selected = np.zeros(where.shape, dtype=bool)
        np.put_along_axis(selected, chosen, True, axis=1)
        yield MaskedBatch(cells, rows.tokens[where].astype(np.int64), rows.values[where].astype(np.float32), selected)


def network_scores(network: CellBert, rows: TokenRows, panel: np.ndarray) -> Scores:
    """Ask the network for every hidden gene; answers are the genes that the source measured (`panel`, a mask)."""
    import torch

    scores = Scores.empty(len(rows))
    network.cpu().eval()
    outside = torch.from_numpy(~panel)
    with torch.inference_mode():
        for batch in masked_batches(rows):
            tokens = np.where(batch.selected, MASK, batch.truth)
            values = np.where(batch.selected, np.float32(HIDDEN_VALUE), batch.values)
            shown = [torch.from_numpy(array) for array in (tokens, values, batch.selected, panel)]
            logits = network(*shown)["token_logits"][:, N_SPECIAL:].float().masked_fill(outside, -torch.inf)
            scores.add(batch, logits.log_softmax(-1).numpy())
    return scores


def rank_bins(length: int, longest: int) -> np.ndarray:
    """Return the bin of each of the first ``length`` ranks."""
    edges = np.unique(np.geomspace(1, max(longest, 2), N_BINS).astype(int))
    return np.searchsorted(edges, np.arange(1, length + 1), side="right") - 1


class GeneFrequencies:
    """How often genes occur in training cells: in all sources, in one, and in one by rank.

    Attributes
    ----------
    by_rank
        Occurrences of each gene in each bin of rank, shape (n_sources, N_BINS, n_genes).
    """

    def __init__(self, sources: list[TokenRows], n_genes: int, longest: int) -> None:
        self.longest, self.n_genes = longest, n_genes
        self.by_rank = np.zeros((len(sources), N_BINS, n_genes))
        bins = rank_bins(longest, longest)
        for source, rows in enumerate(sources):
            rows = rows.cut(longest)
            rank = np.arange(len(rows.tokens)) - np.repeat(rows.indptr[:-1], rows.lengths)
            flat = np.bincount(bins[rank] * n_genes + rows.tokens - N_SPECIAL, minlength=N_BINS * n_genes)
            self.by_rank[source] = flat.reshape(N_BINS, n_genes)

    def scores(self, rows: TokenRows, source: int, panel: np.ndarray) -> dict[str, Scores]:
        """Return the scores of each baseline on the masks and with the panel of genes that the networks get.

        ``rank position`` takes the frequency of genes among the source's training cells at about that rank;
        ``… not shown`` then rules out the genes that the cell shows elsewhere, as a gene occurs once in a cell.
        """
        own = self.by_rank[source].sum(axis=0)
        everywhere = self.by_rank.sum(axis=(0, 1)) + 1
        near = self.by_rank[source] + 100 * (own + 1) / (own + 1).sum()

        def log_shares(counts: np.ndarray) -> np.ndarray:
            inside = np.where(panel, counts, 0)
            with np.errstate(divide="ignore"):
                return np.log(inside / inside.sum(axis=-1, keepdims=True))

        logs = {"unigram": log_shares(everywhere), "unigram by source": log_shares(own + 1)}
        by_rank = log_shares(near)
        names = [*logs, "rank position", "rank position, not shown"]
        found = {name: Scores.empty(len(rows)) for name in names}
        for batch in masked_batches(rows):
            cell, rank = np.nonzero(batch.selected)
            for name, log in logs.items():
                found[name].add(batch, np.broadcast_to(log, (len(cell), self.n_genes)))
            guess = by_rank[rank_bins(batch.truth.shape[1], self.longest)[rank]]
            found["rank position"].add(batch, guess)
            shown = np.zeros((len(batch.cells), self.n_genes), dtype=bool)
            rows_, columns = np.nonzero(~batch.selected)
            shown[rows_, batch.truth[rows_, columns] - N_SPECIAL] = True
            guess = np.where(shown[cell], -np.inf, guess)
            guess = guess - np.logaddexp.reduce(guess, axis=1, keepdims=True)
            found["rank position, not shown"].add(batch, guess)
        return found
