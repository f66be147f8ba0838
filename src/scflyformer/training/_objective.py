"""What the network is asked during pretraining: masked genes, the rest of a cell's counts, and the losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, N_SPECIAL, PAD
from scflyformer.tokens._batches import pad_rows
from scflyformer.tokens._rank import rank_tokens
from scflyformer.training._halves import value_profiles, whole_counts

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows
    from scflyformer.training._store import TokenStore

MASK_SHARE = 0.15
"""Tokens selected for prediction (Devlin et al. 2019; Theodoris et al. 2023)."""
PROFILE_WEIGHT = 8.0
"""Weight of the profile loss beside the masked-gene loss."""
CONTRAST_WEIGHT = 2.0
"""Weight of the loss of finding the other half of a cell's counts."""
READ_SHARE = (0.4, 0.9)
"""``objective="cell"``: the share of a cell's counts in the half that is read, drawn per batch; 0.5 held out."""
KEPT_SHARE = (0.4, 1.0)
"""The share of that half's tokens that BERT is shown, drawn per batch; the profile code reads all that are not masked,
and the profile to decode is that of the whole cell."""
N_OTHERS = 384
"""Other halves among which a cell's own is to be found, at most."""
OTHERS = "others"


class MaskedCells(torch.utils.data.Dataset):
    """Turns a batch of :class:`~scflyformer.training._batches.TokenBudgetBatches` into tensors.

    With ``objective="mlm"`` cells are cut to the shortest. With ``"cell"`` a cell's counts are split in two: the
    network reads one half, BERT as many tokens of each cell as of the shortest.

    Parameters
    ----------
    max_len
        Tokens that BERT reads.
    subsample
        Whether BERT is shown a part of them, drawn per batch.
    groups
        With ``"cell"``: the sample of each cell of the store; cells of one sample are told apart by their other halves.
        Negative for cells that are no candidates. `None`: there is nothing to find.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        objective: str,
        max_len: int,
        seed: int,
        subsample: bool,
        groups: np.ndarray | None = None,
    ) -> None:
        self.store = store
        self.seed = seed
        self.objective = objective
        self.max_len = max_len
        self.subsample = subsample and objective == "cell"
        self.groups = groups if objective == "cell" else None
        # Tokens of the genes each source measured, one source after the other, and where each begins.
        self._measured = np.nonzero(store.panels)[1] + N_SPECIAL
        self._n_measured = store.panels.sum(1)
        self._first = np.cumsum(self._n_measured) - self._n_measured

    def __len__(self) -> int:
        """Return the number of cells in the store."""
        return len(self.store)

    def __getitems__(self, batch: list[int]) -> dict[str, Tensor]:
        """Return one batch.

        Returns
        -------
        tokens
            What the network reads, PAD at the end of shorter cells: 80 % of the selected masked, 10 % a random gene
            that the cell's source measured, 10 % kept, int64, (n, length).
        values
            Values, below zero where selected or padded, float32, (n, length).
        shown
            For ``objective="cell"``: positions of the tokens that BERT reads, ascending, int64, (n, n_shown).
        selected
            Which of these are to be predicted, as many in each cell, bool, (n, n_shown); ``targets``: the true ids
            there, int64, (n_selected,).
        panel
            Genes that the cell's source measured, bool, (n, n_genes).
        profile
            For ``objective="cell"``: share of counts of each gene, float32, (n, n_genes).
        others, own
            With ``groups``: values of the other halves of these cells and of further ones of their group, float32,
            (n_others, n_genes), and which of them is each cell's own, int64, (n,).
        """
        random = np.random.default_rng([self.seed, batch[0]])
        cells = np.asarray(batch[1:])
        source = self.store.source[cells]
        panel = self.store.panels[source]
        rows = self.store.rows(cells)
        if self.objective != "cell":
            shown = int(min(rows.lengths.min(), self.max_len))
            rows = rows.cut(shown)
            place = np.broadcast_to(np.arange(shown), (len(rows), shown))
            arrays = self._masked(rows, place, source, random)
            return _tensors(arrays | {"panel": panel})
        counts = whole_counts(rows, self.store.medians)
        share = random.uniform(*READ_SHARE) if self.subsample else 0.5
        first = random.binomial(counts, share)
        read = self._ranked(rows, first)
        shortest = int(min(read.lengths.min(), self.max_len))
        n_shown = max(int(shortest * random.uniform(*KEPT_SHARE)), 1) if self.subsample else shortest
        # A random subset of the highest ranks, still in rank order.
        width = int(min(read.lengths.max(), self.max_len))
        chance = random.random((len(read), width))
        chance[np.arange(width) >= read.lengths[:, None]] = 2.0
        place = np.sort(np.argpartition(chance, n_shown - 1, axis=1)[:, :n_shown], axis=1)
        arrays = self._masked(read, place, source, random) | {"shown": place, "panel": panel}
        cell = np.repeat(np.arange(len(rows)), rows.lengths)
        profile = np.zeros(panel.shape, dtype=np.float32)
        genes = rows.tokens - N_SPECIAL
        profile[cell, genes] = np.expm1(rows.values) * self.store.medians[genes]
        arrays["profile"] = profile / profile.sum(1, keepdims=True)
        if self.groups is not None:
            arrays |= {OTHERS: self._others(cells, rows, counts - first, random), "own": np.arange(len(cells))}
        return _tensors(arrays)

    def _ranked(self, rows: TokenRows, counts: np.ndarray) -> TokenRows:
        """Return the cells with these counts, at least one each."""
        empty = np.bincount(np.repeat(np.arange(len(rows)), rows.lengths), counts, minlength=len(rows)) == 0
        counts[rows.indptr[:-1][empty]] = 1
        kept = counts > 0
        indptr = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
        return rank_tokens(indptr, rows.tokens[kept] - N_SPECIAL, counts[kept], self.store.medians)

    def _masked(
        self, rows: TokenRows, place: np.ndarray, source: np.ndarray, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Select 15 % of the tokens at ``place``, and hide them."""
        every = np.arange(len(rows))
        tokens = pad_rows(rows.indptr, rows.tokens, every, PAD).astype(np.int64)
        values = pad_rows(rows.indptr, rows.values, every, HIDDEN_VALUE).astype(np.float32)
        n_selected = max(round(MASK_SHARE * place.shape[1]), 1)
        selected = np.zeros(place.shape, dtype=bool)
        chosen = np.argpartition(random.random(place.shape), n_selected - 1, axis=1)[:, :n_selected]
        np.put_along_axis(selected, chosen, True, axis=1)
        cell, where = np.nonzero(selected)[0], place[selected]
        truth = tokens[cell, where]
        dice = random.random(len(truth))
        swapped = dice >= 0.9
        own = source[cell]
        guess = self._measured[self._first[own] + random.integers(self._n_measured[own])]
        tokens[cell, where] = np.where(dice < 0.8, MASK, np.where(swapped, guess, truth))
        values[cell, where] = HIDDEN_VALUE
        return {"tokens": tokens, "values": values, "selected": selected, "targets": truth}

    def _others(
        self, cells: np.ndarray, rows: TokenRows, counts: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Return values of the halves with these ``counts``, and of halves of further cells of the group."""
        halves = [value_profiles(rows, counts, self.store.medians)]
        mates = np.flatnonzero(self.groups == self.groups[cells[0]])  # type: ignore[index]
        mates = np.setdiff1d(mates, cells, assume_unique=True)
        n_more = min(N_OTHERS - len(cells), len(mates))
        if n_more > 0:
            more = self.store.rows(random.choice(mates, n_more, replace=False))
            half = random.binomial(whole_counts(more, self.store.medians), 0.5)
            halves.append(value_profiles(more, half, self.store.medians))
        return np.concatenate(halves)


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def losses(network: CellBert, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of one batch and, as ``loss``, their weighted sum.

    ``mlm``: cross-entropy of the selected tokens over the genes their source measured, nats. With ``objective="cell"``
    ``profile``: see :func:`profile_loss`. With other halves ``contrast``: cross-entropy of finding a cell's own among
    them, nats (InfoNCE, van den Oord 2018).
    """
    panel, targets, genes = batch["panel"], batch["targets"], shared_panel(batch)
    more = {name: batch[name] for name in ("shown", OTHERS) if name in batch}
    out = network(batch["tokens"], batch["values"], batch["selected"], panel, genes=genes, **more)
    token_logits = out["token_logits"].float()
    if genes is None:
        # A cell has as many targets as the next. A gene its source did not measure, or a special token, is no
        # candidate.
        wrong = functional.pad(~panel, (N_SPECIAL, 0), value=True)[:, None]
        token_logits = token_logits.unflatten(0, (len(panel), -1)).masked_fill(wrong, -torch.inf).flatten(0, 1)
    else:
        targets = torch.searchsorted(genes, targets - N_SPECIAL)
    mlm = functional.cross_entropy(token_logits, targets)
    if "profile" not in batch:
        return {"loss": mlm, "mlm": mlm}
    profile = profile_loss(out["profile_logits"], batch, genes)
    parts = {"loss": mlm + PROFILE_WEIGHT * profile, "mlm": mlm, "profile": profile}
    if "half_logits" in out:
        parts["contrast"] = functional.cross_entropy(out["half_logits"], batch["own"])
        parts["loss"] = parts["loss"] + CONTRAST_WEIGHT * parts["contrast"]
    return parts


def shared_panel(batch: dict[str, Tensor]) -> Tensor | None:
    """Return the genes that all cells of a batch measured, int64, shape (n_measured,); None where panels differ.

    Genes that none of them measured need no logits.
    """
    panel = batch["panel"]
    return panel[0].nonzero()[:, 0] if bool((panel == panel[0]).all()) else None


def profile_loss(logits: Tensor, batch: dict[str, Tensor], genes: Tensor | None) -> Tensor:
    """Return how far decoded profiles are from the measured ones.

    That is the Kullback-Leibler divergence over the genes that a cell's source measured, nats per cell: the multinomial
    loss less its constant. ``logits`` are of every gene, or of ``genes``, which all cells measured, shape (n, n_genes).
    """
    logits, truth = logits.float(), batch["profile"]
    if genes is None:
        logits = logits.masked_fill(~batch["panel"], -torch.inf)
    else:
        truth = truth[:, genes]
    decoded = logits.log_softmax(-1)
    gap = torch.xlogy(truth, truth) - torch.where(truth > 0, truth * decoded.clamp(min=-1e4), 0.0)
    return gap.sum(-1).mean()
