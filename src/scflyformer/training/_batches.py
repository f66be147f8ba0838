"""Which cells make a batch, and a batch cut by cells: for several processes, or part after part in less memory."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scflyformer.training._objective import OTHERS, MaskedCells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from scflyformer.training._options import RunOptions
    from scflyformer.training._store import TokenStore

_SORT_CELLS = 4096


class TokenBudgetBatches(torch.utils.data.Sampler):
    """Batches of near-equal length under a token budget, the same for a seed, wherever training starts again.

    Cells are shuffled, sorted by length inside blocks of 4,096, cut into batches, and the batches shuffled; so again
    for each further pass, until ``n_batches`` were given. A batch is a list: its number in the run, from which its
    masks are drawn, then cell positions. It holds ``batch_tokens`` tokens, or up to one cell more, of cells of one
    group where ``groups`` (shape (n_cells of the store,)) are given.
    """

    def __init__(
        self,
        store: TokenStore,
        cells: np.ndarray,
        *,
        batch_tokens: int,
        max_len: int,
        seed: int,
        groups: np.ndarray | None = None,
    ) -> None:
        self.cells = cells[store.lengths[cells] > 0]
        self.groups = None if groups is None else np.unique(groups, return_inverse=True)[1]
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
        parts = [shuffled]
        if self.groups is not None:
            group = self.groups[shuffled]
            order = np.argsort(group, kind="stable")
            parts = np.split(shuffled[order], np.flatnonzero(np.diff(group[order])) + 1)
        batches = []
        for part in parts:
            for start in range(0, len(part), _SORT_CELLS):
                block = part[start : start + _SORT_CELLS]
                block = block[np.argsort(self.lengths[block], kind="stable")]
                tokens = np.cumsum(self.lengths[block])
                batches += np.split(block, np.flatnonzero(np.diff(tokens // self.batch_tokens)) + 1)
        return [batches[position] for position in random.permutation(len(batches))]


class MaskedBatches(NamedTuple):
    """Batches, and what turns each of them into tensors."""

    batches: TokenBudgetBatches
    data: MaskedCells

    @classmethod
    def of(
        cls,
        store: TokenStore,
        cells: np.ndarray,
        options: RunOptions,
        *,
        n_parts: int,
        max_len: int,
        subsample: bool,
        groups: np.ndarray | None,
    ) -> MaskedBatches:
        """Return batches of ``cells``, of ``n_parts`` times the tokens; among themselves cells are told apart."""
        seed, n_tokens = options.seed, options.batch_tokens * n_parts
        batches = TokenBudgetBatches(store, cells, batch_tokens=n_tokens, max_len=max_len, seed=seed, groups=groups)
        data = MaskedCells(
            store,
            objective=options.objective,
            max_len=max_len,
            seed=seed,
            subsample=subsample,
            groups=_groups_of(cells, groups),
        )
        return cls(batches, data)


def _groups_of(cells: np.ndarray, groups: np.ndarray | None) -> np.ndarray | None:
    """Return the groups of ``cells``, -1 for all others."""
    if groups is None:
        return None
    among = np.full(len(groups), -1)
    among[cells] = groups[cells]
    return among


def part_of(batch: dict[str, Tensor], number: int, n_parts: int) -> tuple[dict[str, Tensor], float]:
    """Return one of ``n_parts`` nearly equal parts of a batch, and its share of the cells.

    Every cell of a batch is asked for as many genes as the next, so that the loss of a batch, whether a mean over
    cells or over genes, is the mean of the losses of its parts weighted by their shares; so is its gradient.

    ``batch`` holds tensors with as many entries a cell, cell after cell; ``"others"`` goes to every part as a whole.
    Where there are more parts than cells, some get the first cell with a share of 0.
    """
    n_cells = len(batch["tokens"])
    first, last = number * n_cells // n_parts, (number + 1) * n_cells // n_parts
    share = (last - first) / n_cells
    if first == last:
        first, last = 0, 1
    part = {}
    for name, tensor in batch.items():
        if name == OTHERS:
            part[name] = tensor
            continue
        a_cell, rest = divmod(len(tensor), n_cells)
        if rest:
            raise ValueError(f"batch[{name!r}] has {len(tensor)} entries, which {n_cells} cells do not share equally.")
        part[name] = tensor[first * a_cell : last * a_cell]
    return part, share


class OwnCells(torch.utils.data.Dataset):
    """The cells of each batch that one process of several trains on, with ``share``, their share of the batch.

    Masks are drawn for the whole batch, so that they do not depend on the number of processes.
    """

    def __init__(self, data: MaskedCells, *, rank: int, count: int) -> None:
        self.data, self.rank, self.count = data, rank, count

    def __len__(self) -> int:
        """Return the number of cells in the store."""
        return len(self.data)

    def __getitems__(self, batch: list[int]) -> dict[str, Tensor]:
        """Return this process's part of a batch."""
        part, share = part_of(self.data.__getitems__(batch), self.rank, self.count)
        return part | {"share": torch.tensor(share, dtype=torch.float64)}
