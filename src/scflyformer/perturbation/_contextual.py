"""How far the other genes of a cell move, in the network's eyes, when one is edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer._running import AS_SET, Running
from scflyformer.perturbation._copies import block_cuts, edit_block, token_states

if TYPE_CHECKING:
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._copies import Edits
    from scflyformer.tokens._rows import TokenRows


def contextual_moves(
    network: CellBert,
    rows: TokenRows,
    edits: Edits,
    slot: np.ndarray,
    *,
    bar: Any = None,
    running: Running = AS_SET,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance between the contextual embeddings of each gene before and after.

    Parameters
    ----------
    network
        The network; the second-to-last layer is read.
    rows
        Ranked cells, cut here to the tokens that BERT reads where longer.
    edits
        What is done to which of them.
    slot
        The row of the result that each pair goes to, int64, shape (n_pairs,).
    bar
        Moved by the number of copies done with ``bar.update``.
    running
        How the network runs.

    Returns
    -------
    1 - cosine, the mean over the copies in which the gene is there before and after, float64, shape (n_slots, n_tokens
    of the vocabulary), NaN where there is none; and the number of these copies.
    """
    width, limit = network.config.vocab_size, network.bert_len
    rows = rows.cut(limit)
    shape = int(slot.max(initial=-1)) + 1, width
    sums, counts = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    for block in block_cuts(rows, edits):
        edited = edit_block(rows, edits, block, max_len=limit)
        unique, which = np.unique(edited.source, return_inverse=True)
        cells = rows.take(unique)
        pair = (token_states(network, part, running) for part in (cells, edited.rows))
        before, after = map(_directions, pair)
        # the place of a copy's token in its cell, found by (cell, token)
        home = np.repeat(np.arange(len(cells)), cells.lengths) * width + cells.tokens
        order = np.argsort(home)
        owner = np.repeat(np.arange(len(block)), edited.rows.lengths)[edited.shared]
        token = edited.rows.tokens[edited.shared]
        place = order[np.searchsorted(home[order], which[owner] * width + token)]
        moved = 1 - np.einsum("ij,ij->i", before[place], after[edited.shared]).astype(np.float64)
        np.add.at(sums, (slot[block][owner], token), moved)
        np.add.at(counts, (slot[block][owner], token), 1)
        if bar is not None:
            bar.update(len(block))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), counts


def _directions(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
