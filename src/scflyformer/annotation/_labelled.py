"""Batches of labelled cells for fine-tuning: lengths alike, some genes hidden, a subset for BERT to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scflyformer.genes._vocabulary import HIDDEN_VALUE, PAD
from scflyformer.tokens._batches import pad_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflyformer.tokens._rows import TokenRows

_SORT_CELLS = 4096


class LabelledBatches(torch.utils.data.Sampler):
    """Batches of ``batch_cells`` cells of near-equal length, shuffled anew in each pass; the same for a seed.

    A batch is a list: its number in the run, from which its genes are drawn, then cell positions. Cells without tokens
    are left out.
    """

    def __init__(self, lengths: np.ndarray, cells: np.ndarray, *, batch_cells: int, n_passes: int, seed: int) -> None:
        self.lengths, self.cells = lengths, cells[lengths[cells] > 0]
        self.batch_cells, self.n_passes, self.seed = batch_cells, n_passes, seed
        self.per_pass = len(self._one_pass(0))
        self.batch_size = None

    def __len__(self) -> int:
        """Return the number of batches in all."""
        return self.per_pass * self.n_passes

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches."""
        number = 0
        for turn in range(self.n_passes):
            for batch in self._one_pass(turn):
                yield [number, *batch.tolist()]
                number += 1

    def _one_pass(self, turn: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, turn])
        shuffled = random.permutation(self.cells)
        batches: list[np.ndarray] = []
        for start in range(0, len(shuffled), _SORT_CELLS):
            block = shuffled[start : start + _SORT_CELLS]
            block = block[np.argsort(self.lengths[block], kind="stable")]
            batches += np.split(block, range(self.batch_cells, len(block), self.batch_cells))
        return [batches[position] for position in random.permutation(len(batches))]


class LabelledCells(torch.utils.data.Dataset):
    """Turns a batch of :class:`LabelledBatches` into what :class:`CellClassifier` takes.

    Of each cell a share of its genes, drawn up to ``gene_dropout``, is hidden, as if they had not been caught. BERT
    reads ``n_tokens`` of the others, or as many as the batch's cell with the fewest has: nothing is padded there. They
    are drawn from the ``bert_len`` highest ranked, which BERT reads in a whole cell.
    """

    def __init__(
        self, rows: TokenRows, y: np.ndarray, *, n_genes: int, n_tokens: int, bert_len: int, gene_dropout: float,
        seed: int,
    ) -> None:  # fmt: skip
        self.rows, self.y, self.n_tokens, self.bert_len = rows, y, n_tokens, bert_len
        self.gene_dropout, self.seed = gene_dropout, seed
        self.panel = np.ones(n_genes, dtype=bool) if rows.panel is None else rows.panel

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.rows)

    def __getitems__(self, batch: list[int]) -> dict[str, torch.Tensor]:
        """Return one batch; see :meth:`CellClassifier.forward`."""
        random = np.random.default_rng([self.seed, batch[0]])
        cells = np.asarray(batch[1:])
        indptr, lengths = self.rows.indptr, self.rows.lengths[cells]
        tokens = pad_rows(indptr, self.rows.tokens, cells, PAD).astype(np.int64)
        values = pad_rows(indptr, self.rows.values, cells, HIDDEN_VALUE).astype(np.float32)
        chance = random.random(tokens.shape)
        hidden = chance < self.gene_dropout * random.random((len(cells), 1))
        chance[hidden] += 1
        chance[np.arange(tokens.shape[1]) >= lengths[:, None]] = 3
        chance[(chance < 1) & (np.cumsum(chance < 1, axis=1) > self.bert_len)] += 1
        n_shown = max(min(self.n_tokens, int((chance < 1).sum(axis=1).min())), 1)
        shown = np.sort(np.argpartition(chance, n_shown - 1, axis=1)[:, :n_shown], axis=1)
        values[hidden] = HIDDEN_VALUE
        arrays = {"tokens": tokens, "values": values, "shown": shown, "labels": self.y[cells].astype(np.int64)}
        arrays["panel"] = np.broadcast_to(self.panel, (len(cells), len(self.panel))).copy()
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
