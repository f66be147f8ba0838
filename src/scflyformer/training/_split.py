"""Batches cut by cells: for several processes, or to run one part after the other in less memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scflyformer.training._objective import OTHERS

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.training._objective import MaskedCells


def part_of(batch: dict[str, Tensor], number: int, n_parts: int) -> tuple[dict[str, Tensor], float]:
    """Return one of ``n_parts`` nearly equal parts of a batch, and its share of the cells.

    Every cell of a batch is asked for as many genes as the next, so that the loss of a batch, whether a mean over
    cells or over genes, is the mean of the losses of its parts weighted by their shares; so is its gradient.

    Parameters
    ----------
    batch
        Tensors with as many entries a cell, cell after cell; ``"others"`` goes to every part as a whole.

    Returns
    -------
    The part; where there are more parts than cells, some get the first cell with a share of 0.

    Raises
    ------
    ValueError
        When a tensor cannot be cut, as its cells have not as many entries each.
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
