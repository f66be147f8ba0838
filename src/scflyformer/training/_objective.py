"""What the network is asked during pretraining: batches, masking and losses."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from scflyformer.genes._vocabulary import HIDDEN_VALUE, MASK, N_SPECIAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scflyformer.network._network import CellBert
    from scflyformer.training._store import TokenStore

MASK_SHARE = 0.15
"""Tokens selected for prediction (Devlin et al. 2019; Theodoris et al. 2023)."""
PROFILE_WEIGHT = 8.0
"""Weight of the profile loss beside the masked-gene loss."""
KEPT_SHARE = (0.4, 1.0)
"""``objective="cell"``: the share of a batch's tokens that is shown, drawn per batch; the profile wants them all."""
_SORT_CELLS = 4096


class TokenBudgetBatches(torch.utils.data.Sampler):
    """Batches of near-equal length under a token budget, the same for a seed, wherever training starts again.

    Cells are shuffled, sorted by length inside blocks of 4,096, cut into batches, and the batches shuffled; so again
    for each further pass, until ``n_batches`` were given. A batch is a list: its number in the run, from which its
    masks are drawn, then cell positions. It holds ``batch_tokens`` tokens, or up to one cell more.
    """

    def __init__(self, store: TokenStore, cells: np.ndarray, *, batch_tokens: int, max_len: int, seed: int) -> None:
        self.cells = cells[store.lengths[cells] > 0]
        if not len(self.cells):
            raise ValueError("None of the cells has an expressed gene.")
        self.lengths = np.minimum(store.lengths, max_len)
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.per_pass = len(self._one_pass(0))
        self.n_batches = self.per_pass
        self.batch_size = None

    def __len__(self) -> int:
        """Return the number of batches in all."""
        return self.n_batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches."""
        given = 0
        for number in count():  # passes differ by a batch or two
            for batch in self._one_pass(number):
                if given == self.n_batches:
                    return
                yield [given, *batch.tolist()]
                given += 1

    def _one_pass(self, number: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, number])
        shuffled = random.permutation(self.cells)
        batches = []
        for start in range(0, len(shuffled), _SORT_CELLS):
            block = shuffled[start : start + _SORT_CELLS]
            block = block[np.argsort(self.lengths[block], kind="stable")]
            tokens = np.cumsum(self.lengths[block])
            batches += np.split(block, np.flatnonzero(np.diff(tokens // self.batch_tokens)) + 1)
        return [batches[position] for position in random.permutation(len(batches))]


class MaskedCells(torch.utils.data.Dataset):
    """Turns a batch of :class:`TokenBudgetBatches` into tensors, without padding: cells are cut to the shortest."""

    def __init__(self, store: TokenStore, *, objective: str, max_len: int, seed: int, subsample: bool) -> None:
        self.store = store
        self.seed = seed
        self.objective = objective
        self.max_len = max_len
        self.subsample = subsample and objective == "cell"
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
            What the network sees: 80 % of the selected masked, 10 % a random gene that the cell's source measured, 10 %
            kept, int64, (n, length).
        values
            Values, below zero where selected, float32, (n, length).
        selected
            Tokens to predict, as many in each cell, bool, (n, length); ``targets``: the true ids there, int64,
            (n_selected,).
        panel
            Genes that the cell's source measured, bool, (n, n_genes).
        profile
            For ``objective="cell"``: share of counts of each gene, float32, (n, n_genes).
        """
        random = np.random.default_rng([self.seed, batch[0]])
        cells = np.asarray(batch[1:])
        rows = self.store.rows(cells)
        lengths = rows.lengths
        shortest = int(min(lengths.min(), self.max_len))
        shown = max(int(shortest * random.uniform(*KEPT_SHARE)), 1) if self.subsample else shortest
        # The article cuts the end of the ranking; a random subset, still in rank order, shows the cell as if it had
        # been measured shallower.
        if self.objective == "cell":
            chance = random.random((len(rows), lengths.max()))
            chance[np.arange(lengths.max()) >= lengths[:, None]] = 2.0
            place = np.sort(np.argpartition(chance, shown - 1, axis=1)[:, :shown], axis=1)
        else:
            place = np.broadcast_to(np.arange(shown), (len(rows), shown))
        where = rows.indptr[:-1, None] + place
        truth = rows.tokens[where].astype(np.int64)
        values = rows.values[where].copy()
        n_selected = max(round(MASK_SHARE * shown), 1)
        selected = np.zeros(truth.shape, dtype=bool)
        chosen = np.argpartition(random.random(truth.shape), n_selected - 1, axis=1)[:, :n_selected]
        np.put_along_axis(selected, chosen, True, axis=1)
        dice = random.random(truth.shape)
        tokens = np.where(selected & (dice < 0.8), MASK, truth)
        source = self.store.source[cells]
        swapped = selected & (dice >= 0.9)
        own = source[np.nonzero(swapped)[0]]
        tokens[swapped] = self._measured[self._first[own] + random.integers(self._n_measured[own])]
        values[selected] = HIDDEN_VALUE
        panel = self.store.panels[source]
        arrays = {"tokens": tokens, "values": values, "selected": selected, "targets": truth[selected], "panel": panel}
        if self.objective == "cell":
            genes = rows.tokens - N_SPECIAL
            counts = np.expm1(rows.values) * self.store.medians[genes]
            profile = np.zeros(panel.shape, dtype=np.float32)
            profile[np.repeat(np.arange(len(rows)), lengths), genes] = counts
            arrays["profile"] = profile / profile.sum(1, keepdims=True)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def losses(network: CellBert, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of one batch.

    Returns
    -------
    mlm
        Cross-entropy of the selected tokens over the genes their source measured, nats.
    profile
        For ``objective="cell"``: Kullback-Leibler divergence of the decoded from the measured profile over the genes
        its source measured, nats per cell: the multinomial loss less its constant.
    loss
        Their weighted sum.
    """
    out = network(batch["tokens"], batch["values"], batch["selected"], batch["panel"])
    unmeasured = ~batch["panel"]
    # A cell has as many targets as the next. A gene its source did not measure, or a special token, is no candidate.
    token_logits = out["token_logits"].float().unflatten(0, (len(unmeasured), -1))
    token_logits = token_logits.masked_fill(functional.pad(unmeasured, (N_SPECIAL, 0), value=True)[:, None], -torch.inf)
    mlm = functional.cross_entropy(token_logits.flatten(0, 1), batch["targets"])
    if "profile" not in batch:
        return {"loss": mlm, "mlm": mlm}
    decoded = out["profile_logits"].float().masked_fill(unmeasured, -torch.inf).log_softmax(-1)
    truth = batch["profile"]
    gap = torch.xlogy(truth, truth) - torch.where(truth > 0, truth * decoded.clamp(min=-1e4), 0.0)
    profile = gap.sum(-1).mean()
    return {"loss": mlm + PROFILE_WEIGHT * profile, "mlm": mlm, "profile": profile}
