"""How far edited cells move towards states: one stream of edited copies, sorted by length, in bounded memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from scflyformer.genes._vocabulary import PAD
from scflyformer.network._device import pick_device, pick_dtype
from scflyformer.network._infer import MEAN_LAYER, Pooling, embed_rows
from scflyformer.network._network import HIDDEN_VALUE
from scflyformer.stats._shift import state_cosines
from scflyformer.tokens._batches import BATCH_TOKENS, pad_rows, token_batches
from scflyformer.tokens._edit import Edited, delete_tokens, overexpress_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows

Kind = Literal["delete", "overexpress"]
BLOCK_TOKENS = 1 << 18
"""Tokens of edited cells that exist at a time."""


def perturbed_shifts(
    network: CellBert,
    rows: TokenRows,
    sets: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    *,
    kind: Kind,
    vectors: np.ndarray,
    centroids: np.ndarray,
    states: np.ndarray,
    pooling: Pooling,
    bar: Any = None,
    **run: Any,
) -> np.ndarray:
    """Change in the cosine with each state's centroid when gene sets are edited in cells.

    Parameters
    ----------
    network
        The network.
    rows
        Ranked cells, at most ``network.max_len`` tokens each.
    sets
        Token ids of each gene set, short ones filled with the padding id, shape (n_sets, width).
    pairs
        Cell and set of each edited copy, int64, shape (n_pairs,) each.
    kind
        The edit.
    vectors
        The unedited cells, embedded with the same ``pooling``, shape (n_cells, width).
    centroids
        All centroids, shape (n_centroids, width).
    states
        The centroid that stands for a state in the eyes of a cell; negative where there is none, shape (n_cells,
        n_states).
    pooling
        ``"cell"``: the cell token. ``"mean"``: before and after alike, the mean over the genes present in both, so that
        a gene is not credited for its own removal or arrival.
    bar
        Moved by the number of copies done with ``bar.update``.
    run
        ``device``, ``dtype`` and ``batch_tokens`` of `embed_rows`.

    Returns
    -------
    cos(after, centroid) - cos(before, centroid), float64, shape (n_pairs, n_states); NaN where nothing is left of a
    cell or a state has no centroid for it.
    """
    out = np.empty((len(pairs[0]), states.shape[1]))
    before = state_cosines(vectors, centroids, states)
    for block, edited in edited_blocks(rows, sets, pairs, kind=kind, max_len=network.max_len):
        source = edited.source
        counted = edited.shared if pooling == "mean" else None
        moved = embed_rows(network, edited.rows, pooling=pooling, counted=counted, **run)
        if pooling == "mean":
            still = mean_over_kept(network, rows, edited, **run)
            start = state_cosines(still, centroids, states[source])
        else:
            start = before[source]
        out[block] = state_cosines(moved, centroids, states[source]) - start
        if bar is not None:
            bar.update(len(block))
    return out


def mean_over_kept(
    network: CellBert,
    rows: TokenRows,
    edited: Edited,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_tokens: int | Literal["auto"] = "auto",
) -> np.ndarray:
    """Mean over an unedited cell's genes that its edited copy kept, from one pass per cell.

    Parameters
    ----------
    network
        The network.
    rows
        Ranked cells, at most ``network.max_len`` tokens each.
    edited
        Their edited copies.
    device, dtype, batch_tokens
        As for `embed_rows`.

    Returns
    -------
    Float64, shape (n_copies, width); zeros where nothing was kept.
    """
    unique, which = np.unique(edited.source, return_inverse=True)
    cells = rows.take(unique)
    hidden = _token_states(network, cells, device, dtype, BATCH_TOKENS if batch_tokens == "auto" else batch_tokens)
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


def edited_blocks(
    rows: TokenRows, sets: np.ndarray, pairs: tuple[np.ndarray, np.ndarray], *, kind: Kind, max_len: int
) -> Iterator[tuple[np.ndarray, Edited]]:
    """Make the edited copies of cells, longest cells first, few enough at a time that they fit the block.

    Parameters
    ----------
    rows, sets, pairs, kind
        As for `perturbed_shifts`.
    max_len
        Tokens a copy may have.

    Yields
    ------
    Positions in ``pairs``, int64, and the copies of these pairs.
    """
    cells, chosen = pairs
    lengths = rows.lengths[cells]
    if kind == "overexpress":
        lengths = lengths + (sets != PAD).sum(1)[chosen]
    order = np.lexsort((chosen, cells, -lengths))
    total = np.cumsum(lengths[order])
    cuts = np.searchsorted(total, np.arange(BLOCK_TOKENS, total[-1] if len(total) else 0, BLOCK_TOKENS))
    for block in np.split(order, np.unique(cuts)):
        if len(block):
            yield block, _edit(rows, sets[chosen[block]], cells[block], kind, max_len)


def _edit(rows: TokenRows, sets: np.ndarray, source: np.ndarray, kind: Kind, max_len: int) -> Edited:
    if kind == "delete":
        return delete_tokens(rows, sets, source)
    return overexpress_tokens(rows, sets, source, max_len=max_len)


def _token_states(network: CellBert, rows: TokenRows, device: str, dtype: str, batch_tokens: int) -> np.ndarray:
    """Return the hidden state behind each token that mean pooling averages, float32, shape (n_tokens, width)."""
    target = pick_device(device)
    number = pick_dtype(dtype, target)
    network.to(target).eval()  # type: ignore[arg-type]
    out = np.zeros((len(rows.tokens), network.config.hidden_size), dtype=np.float32)
    mixed = nullcontext() if number == torch.float32 else torch.autocast(target.type, dtype=number)
    flat = np.arange(len(rows.tokens))
    panel = None if rows.panel is None else torch.from_numpy(rows.panel).to(target)
    with torch.inference_mode(), mixed:
        for batch in token_batches(rows.lengths, batch_tokens):
            place = pad_rows(rows.indptr, flat, batch, -1)
            tokens = torch.from_numpy(pad_rows(rows.indptr, rows.tokens, batch, PAD)).to(target, torch.int64)
            values = torch.from_numpy(pad_rows(rows.indptr, rows.values, batch, HIDDEN_VALUE)).to(target)
            mask = None if (place >= 0).all() else (tokens != PAD).to(torch.int64)
            hidden = network.encode(tokens, values, mask, panel=panel, layer=MEAN_LAYER).float().cpu().numpy()
            out[place[place >= 0]] = hidden[:, int(network.has_cell_token) :][place >= 0]
    return out
