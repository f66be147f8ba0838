"""From ranked tokens to vectors, in input order."""

from __future__ import annotations

from contextlib import nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from scflyformer._running import AS_SET, Running
from scflyformer._settings import require_batch_tokens
from scflyformer.genes._vocabulary import HIDDEN_VALUE, PAD
from scflyformer.network._device import pick_batch_tokens, pick_place
from scflyformer.network._memory import hand_back, run_batches
from scflyformer.network._network import Pooling
from scflyformer.tokens._batches import pad_rows

if TYPE_CHECKING:
    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows

MEAN_LAYER = -2
"""The article averages the second-to-last layer."""
MANY_CELLS = 1000
"""Cells of a call from which memory is handed back after it, which takes some milliseconds."""
_one_at_a_time = Lock()
"""Dask's threads share the network, the device's memory and torch's own threads."""


def embed_rows(
    network: CellBert,
    rows: TokenRows,
    *,
    pooling: Pooling,
    running: Running = AS_SET,
    counted: np.ndarray | None = None,
    bar: Any = None,
) -> np.ndarray:
    """Return vectors of ranked cells in input order, float32, shape (n_cells, width); zeros for a cell without tokens.

    The network is moved to the device and set to evaluation; cells are cut to what the embedding is made of.
    ``pooling`` is ``"cell"``: the cell token after its norm, and the profile code; ``"code"``: the profile code alone;
    or ``"mean"``: the mean over gene tokens of the second-to-last layer, of those where ``counted``, bool, shape
    (n_tokens,), if given.

    A batch is halved, with a word in the log, where memory does not hold it; a `RuntimeError` where it does not hold a
    single cell.
    """
    check_embedding(network, pooling, running)
    limit = network.limit(pooling)
    if counted is not None and len(rows) and rows.lengths.max() > limit:
        raise ValueError(f"`counted` goes with cells of at most {limit} tokens; cut the cells first.")
    rows = rows.cut(limit)
    target, number = pick_place(running)
    panel = None if rows.panel is None else torch.from_numpy(rows.panel).to(target)
    out = np.zeros((len(rows), network.embedding_size(pooling)), dtype=np.float32)
    mixed = nullcontext() if number == torch.float32 else torch.autocast(target.type, dtype=number)

    def run(batch: np.ndarray) -> None:
        weights = None if counted is None else pad_rows(rows.indptr, counted, batch, False, limit=limit)
        out[batch] = _embed_batch(network, rows, batch, pooling, weights, panel, target)

    budget = pick_batch_tokens(running.batch_tokens, target)
    with _one_at_a_time, torch.inference_mode(), mixed:
        network.to(target).eval()  # type: ignore[arg-type]
        run_batches(network, run, rows.lengths, budget, bar=bar)
    if len(rows) >= MANY_CELLS:
        hand_back()
    out[rows.lengths == 0] = 0
    return out


def check_embedding(network: CellBert, pooling: str, running: Running) -> None:
    """Refuse what `embed_rows` cannot do, before cells are read."""
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling={pooling!r} is unknown; expected 'cell', 'code' or 'mean'.")
    if pooling == "cell" and not network.has_cell_token:
        raise ValueError("pooling='cell' needs a model with a cell token; this one has none. Use pooling='mean'.")
    if pooling == "code" and not network.embedding_size("code"):
        raise ValueError("pooling='code' needs a model with a profile code; this one has none.")
    if running.batch_tokens != "auto":
        require_batch_tokens(running.batch_tokens)


def padded(
    network: CellBert, rows: TokenRows, cells: np.ndarray, device: torch.device, *, pooling: Pooling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids, int64, and values of some cells as a batch for the network, shape (n, `in_steps`) each."""
    limit = network.limit(pooling)
    tokens = torch.from_numpy(pad_rows(rows.indptr, rows.tokens, cells, PAD, limit=limit)).to(device, torch.int64)
    return tokens, torch.from_numpy(pad_rows(rows.indptr, rows.values, cells, HIDDEN_VALUE, limit=limit)).to(device)


def _embed_batch(
    network: CellBert,
    rows: TokenRows,
    batch: np.ndarray,
    pooling: Pooling,
    weights: np.ndarray | None,
    panel: torch.Tensor | None,
    device: torch.device,
) -> np.ndarray:
    tokens, values = padded(network, rows, batch, device, pooling=pooling)
    present = tokens != PAD
    if pooling == "code":
        return network.code(tokens, values, panel).cpu().numpy()  # type: ignore[union-attr]
    mask = None if bool(present.all()) else present.to(torch.int64)
    if pooling == "cell":
        return network.embed(tokens, values, mask, panel=panel).float().cpu().numpy()
    hidden = network.encode(tokens, values, mask, panel=panel, layer=MEAN_LAYER).float()[
        :, int(network.has_cell_token) :
    ]
    share = present if weights is None else torch.from_numpy(weights).to(device)
    share = share.unsqueeze(-1).to(hidden.dtype)
    return ((hidden * share).sum(1) / share.sum(1).clamp(min=1)).cpu().numpy()
