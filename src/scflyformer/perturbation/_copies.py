"""Edited copies of cells: embedded in one stream, sorted by length, read off block by block, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scflyformer._running import AS_SET, Running
from scflyformer.genes._vocabulary import PAD
from scflyformer.network._device import pick_batch_tokens, pick_place
from scflyformer.network._infer import MEAN_LAYER, Pooling, padded
from scflyformer.network._memory import run_batches
from scflyformer.perturbation._cells import Embedder
from scflyformer.perturbation._edit import edit_tokens
from scflyformer.perturbation._readouts import TowardsStates
from scflyformer.tokens._batches import pad_rows

if TYPE_CHECKING:
    from scflyformer.network._network import CellBert
    from scflyformer.perturbation._checkpoint import Checkpoint
    from scflyformer.perturbation._edit import Edited, Edits
    from scflyformer.perturbation._readouts import Readout
    from scflyformer.tokens._rows import TokenRows

BLOCK_TOKENS = 1 << 18
"""Tokens of edited cells that exist at a time."""


@dataclass(frozen=True, eq=False)
class Mean:
    """A readout of which only weighted means over copies are kept.

    Attributes
    ----------
    slot
        The mean that each copy goes to, int64, shape (n_copies,).
    weight
        Its weight there, float64, shape (n_copies,).
    """

    readout: Readout
    slot: np.ndarray
    weight: np.ndarray


def read_copies(
    embedder: Embedder,
    rows: TokenRows,
    edits: Edits,
    *,
    vectors: np.ndarray,
    readouts: Sequence[Readout],
    means: Sequence[Mean] = (),
    checkpoint: Checkpoint | None = None,
    bar: Any = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Embed every edited copy once and read it off.

    Under mean pooling, before and after alike are the mean over the genes present in both, so that a gene is not
    credited for its own removal or arrival.

    Parameters
    ----------
    rows
        Ranked cells, cut here to what the embedding is made of where longer.
    vectors
        The unedited cells, embedded in the same way, shape (n_cells, width).
    checkpoint
        Where to keep the blocks that are done; those found there are not run again.

    Returns
    -------
    For each readout float64, shape (n_copies, its width), NaN where the edit leaves nothing of a cell; and for each
    mean float64, shape (n_slots, its width), NaN where no copy is left.
    """
    network, pooling = embedder.network, embedder.pooling
    limit = network.limit(pooling)
    rows = rows.cut(limit)
    values = [np.full((len(edits), readout.width), np.nan) for readout in readouts]
    sums = [np.zeros((2, int(mean.slot.max(initial=-1)) + 1, mean.readout.width)) for mean in means]
    done, saved = (0, []) if checkpoint is None else checkpoint.load()
    if done:
        values, sums = saved[: len(values)], saved[len(values) :]
    cuts = block_cuts(rows, edits)
    if done and bar is not None:
        bar.update(sum(map(len, cuts[:done])))
    for number, block in enumerate(cuts[done:], start=done + 1):
        edited = edit_block(rows, edits, block, max_len=limit)
        counted = edited.shared if pooling == "mean" else None
        after = embedder.embed(edited.rows, counted=counted)
        if pooling == "mean":
            before = mean_over_kept(network, rows, edited, embedder.running)
        else:
            before = vectors[edited.source]
        left = (edited.rows.lengths > 0) & before.any(axis=1) & after.any(axis=1)
        before, after, source = before[left], after[left], edited.source[left]
        for kept, readout in zip(values, readouts, strict=True):
            kept[block[left]] = readout(before, after, source)
        for (total, total_weight), mean in zip(sums, means, strict=True):
            weight, read = mean.weight[block[left], None], mean.readout(before, after, source)
            known = np.isfinite(read)
            np.add.at(total, mean.slot[block[left]], np.where(known, read * weight, 0))
            np.add.at(total_weight, mean.slot[block[left]], known * weight)
        if checkpoint is not None:
            checkpoint.save(number, [*values, *sums])
        if bar is not None:
            bar.update(len(block))
    with np.errstate(invalid="ignore", divide="ignore"):
        return values, [total / weight for total, weight in sums]


def embedded_copies(
    embedder: Embedder, rows: TokenRows, edits: Edits, *, bar: Any = None
) -> Iterator[tuple[np.ndarray, Edited, np.ndarray]]:
    """Embed every edited copy once, as any cell is embedded, block by block.

    For readouts of a whole cell, such as its age or its class. Yields positions of copies, the edited cells, and their
    embedding, float32, shape (n_block, width).
    """
    limit = embedder.network.limit(embedder.pooling)
    for block in block_cuts(rows, edits):
        edited = edit_block(rows, edits, block, max_len=limit)
        yield block, edited, embedder.embed(edited.rows)
        if bar is not None:
            bar.update(len(block))


def perturbed_shifts(
    network: CellBert,
    rows: TokenRows,
    edits: Edits,
    *,
    vectors: np.ndarray,
    centroids: np.ndarray,
    states: np.ndarray,
    pooling: Pooling,
    running: Running = AS_SET,
) -> np.ndarray:
    """Return cos(after, centroid) - cos(before, centroid) of each copy, float64, shape (n_copies, n_states).

    ``centroids`` and ``states`` as for :class:`scflyformer.perturbation._readouts.TowardsStates`, the rest as for
    :func:`read_copies`.
    """
    embedder = Embedder(network, pooling, running)
    values, _ = read_copies(embedder, rows, edits, vectors=vectors, readouts=[TowardsStates(centroids, states)])
    return values[0]


def mean_over_kept(network: CellBert, rows: TokenRows, edited: Edited, running: Running = AS_SET) -> np.ndarray:
    """Mean over an unedited cell's genes that its edited copy kept, from one pass per cell.

    Float64, shape (n_copies, width); zeros where nothing was kept. Cells have at most ``network.bert_len`` tokens each.
    """
    unique, which = np.unique(edited.source, return_inverse=True)
    cells = rows.take(unique)
    hidden = token_states(network, cells, running)
    lengths = cells.lengths
    sums = np.zeros((len(cells), hidden.shape[1]))
    filled = lengths > 0
    if filled.any():
        sums[filled] = np.add.reduceat(hidden, cells.indptr[:-1][filled], axis=0, dtype=np.float64)
    copies = lengths[which]
    ends = np.cumsum(copies)
    lost = np.flatnonzero(~edited.kept)
    owner = np.searchsorted(ends, lost, side="right")
    place = lost - (ends - copies)[owner] + cells.indptr[which[owner]]
    means = sums[which]
    np.subtract.at(means, owner, hidden[place].astype(np.float64))
    n_kept = copies - np.bincount(owner, minlength=len(which))
    means[n_kept == 0] = 0
    return means / np.maximum(n_kept, 1)[:, None]


def block_cuts(rows: TokenRows, edits: Edits) -> list[np.ndarray]:
    """Return positions of copies in blocks of at most `BLOCK_TOKENS` tokens, longest cells first, then cell by cell."""
    lengths = rows.lengths[edits.cells]
    if edits.kind in ("overexpress", "activate"):
        lengths = lengths + (edits.sets != PAD).sum(1)[edits.chosen]
    order = np.lexsort((edits.chosen, edits.cells, -lengths))
    total = np.cumsum(lengths[order])
    cuts = np.searchsorted(total, np.arange(BLOCK_TOKENS, total[-1] if len(total) else 0, BLOCK_TOKENS))
    return [block for block in np.split(order, np.unique(cuts)) if len(block)]


def edit_block(rows: TokenRows, edits: Edits, block: np.ndarray, *, max_len: int) -> Edited:
    """Return some of the copies, given by position."""
    return edit_tokens(
        rows,
        edits.sets[edits.chosen[block]],
        edits.cells[block],
        kind=edits.kind,
        dose=edits.dose,
        max_len=max_len,
    )


def token_states(network: CellBert, rows: TokenRows, running: Running) -> np.ndarray:
    """Return the hidden state behind each token that mean pooling averages, float32, shape (n_tokens, width)."""
    target, number = pick_place(running)
    network.to(target).eval()  # type: ignore[arg-type]
    out = np.zeros((len(rows.tokens), network.config.hidden_size), dtype=np.float32)
    mixed = nullcontext() if number == torch.float32 else torch.autocast(target.type, dtype=number)
    flat = np.arange(len(rows.tokens))
    panel = None if rows.panel is None else torch.from_numpy(rows.panel).to(target)

    def run(batch: np.ndarray) -> None:
        place = pad_rows(rows.indptr, flat, batch, -1, limit=network.bert_len)
        tokens, values = padded(network, rows, batch, target, pooling="mean")
        mask = None if (place >= 0).all() else (tokens != PAD).to(torch.int64)
        hidden = network.encode(tokens, values, mask, panel=panel, layer=MEAN_LAYER).float().cpu().numpy()
        out[place[place >= 0]] = hidden[:, int(network.has_cell_token) :][place >= 0]

    with torch.inference_mode(), mixed:
        run_batches(network, run, rows.lengths, pick_batch_tokens(running.batch_tokens, target))
    return out
