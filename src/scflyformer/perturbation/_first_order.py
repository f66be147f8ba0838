"""A first-order screen: what deleting each gene of a cell would do, from the gradient at the whole cell."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scflyformer._running import AS_SET, Running
from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.network._device import pick_batch_tokens, pick_place
from scflyformer.network._infer import check_embedding, padded
from scflyformer.network._memory import run_batches
from scflyformer.network._network import after_attention, query_key_value
from scflyformer.tokens._batches import pad_rows

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.network._infer import Pooling
    from scflyformer.network._network import CellBert
    from scflyformer.tokens._rows import TokenRows

SCREEN_TOKENS = 2048
"""Tokens a batch where nothing else is asked; the backward pass on a processor is no slower for small batches."""
_SHARES = {"cell": (0.5,), "mean": (0.5 - 12**-0.5, 0.5 + 12**-0.5)}
"""How far up the step to the position before tokens stand where gradients are taken; these are averaged."""
_UNSEEN = -2000.0
"""Attention logit of padding."""
_SCALE = 4096.0
"""Gradients are this many times larger on their way back, so that half precision holds them."""


def first_order_shifts(
    network: CellBert,
    rows: TokenRows,
    *,
    centroids: np.ndarray,
    states: np.ndarray,
    pooling: Pooling,
    running: Running = AS_SET,
    bar: Any = None,
) -> np.ndarray:
    """Estimate the change in the cosine with a centroid when a gene is deleted, for every gene of every cell.

    The exact change (:func:`scflyformer.perturbation._copies.perturbed_shifts`) takes a pass for each gene; the
    estimate takes one pass and its gradient for all genes of a cell, two for the mean. It adds up

    - the profile code without the gene, exactly;
    - the cell token's start, which the code gives: its exact change times the gradient there;
    - the gene's token, no longer seen by the others: minus the gradient to a bias on the token's attention logits,
      one for all layers, heads and queries;
    - the later tokens, one position up each: the step of the position embedding times the gradient at the token.

    That the next gene in rank comes into BERT's view, where a cell has more than it reads, is left out.

    Steps between learnt positions are long and point anywhere, so a gradient from their beginning misleads. It is taken
    with every token half a step up, which is right to second order. For the mean, where positions weigh more, it is
    the average of two passes, at the points of Gauss along the step.

    Parameters
    ----------
    rows
        Ranked cells, at most ``network.limit(pooling)`` tokens each.
    states
        The centroid that each cell is held against; negative where there is none, int64, shape (n_cells,).
    pooling
        As for :func:`scflyformer.network._infer.embed_rows`; for ``"code"`` the result is exact.
    running
        How to run; `SCREEN_TOKENS` a batch unless a number of tokens is asked for.

    Returns
    -------
    The estimate for each token of ``rows``, float64, shape (n_tokens,); NaN where a cell has no centroid, or no other
    token.
    """
    check_embedding(network, pooling, running)
    limit = network.limit(pooling)
    if len(rows) and rows.lengths.max() > limit:
        raise ValueError(f"A cell has {rows.lengths.max()} tokens, and the network reads {limit}; cut the cells first.")
    target, number = pick_place(running)
    network.to(target).eval()  # type: ignore[arg-type]
    panel = None if rows.panel is None else torch.from_numpy(rows.panel).to(target)
    goals = torch.from_numpy(centroids.astype(np.float32)).to(target)
    out = np.full(len(rows.tokens), np.nan)
    known = np.flatnonzero(np.asarray(states) >= 0)
    mixed = nullcontext() if number == torch.float32 else torch.autocast(target.type, dtype=number)

    def run(batch: np.ndarray) -> None:
        cells = known[batch]
        cells = cells[rows.lengths[cells] > 1]
        if not len(cells):
            return
        tokens, values = padded(network, rows, cells, target, pooling=pooling)
        with mixed:
            estimate = _estimate(network, tokens, values, panel, goals[states[cells]], pooling)
        place = pad_rows(rows.indptr, np.arange(len(rows.tokens)), cells, -1, limit=limit)
        out[place[place >= 0]] = estimate.cpu().numpy()[place >= 0]

    budget = pick_batch_tokens(running.batch_tokens, target, default=SCREEN_TOKENS)
    run_batches(network, run, rows.lengths[known], budget, bar=bar)
    if bar is not None:
        bar.update(len(rows) - len(known))
    return out


def _estimate(
    network: CellBert, tokens: Tensor, values: Tensor, panel: Tensor | None, goals: Tensor, pooling: Pooling
) -> Tensor:
    """Return the estimate for each token of a padded batch, shape (n, length)."""
    front, present = int(network.has_cell_token), tokens != PAD
    encoder, linear, code = network.profile_encoder, None, None
    with torch.no_grad():
        if encoder is not None:
            linear = encoder.linear(encoder.profile(tokens, values), panel)
            code = encoder.code(linear)
        if pooling == "code":
            estimate = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
            estimate[present] = _through_code(network, tokens, values, linear, code, None, code, goals)
            return estimate
    seen = present[:, : network.bert_len]
    with torch.no_grad():
        embedded = network._embedded(tokens, values, None, code)[0].float()
        position = network.bert.embeddings.position_embeddings.weight[: embedded.shape[1]].float()
        step = torch.zeros_like(position)
        step[front + 1 :] = position[front:-1] - position[front + 1 :]
    bias = torch.zeros(seen.shape, device=tokens.device, requires_grad=True)
    slopes = []
    for share in _SHARES[pooling]:
        read = (embedded + share * step).requires_grad_()
        with torch.enable_grad():
            vectors = _vectors(network, read, bias, seen, pooling)
            if code is not None and pooling == "cell":
                vectors = torch.cat([vectors, code], dim=1)
            cosine = nn.functional.cosine_similarity(vectors, goals)
            slopes.append(torch.autograd.grad(cosine.sum() * _SCALE, [read, bias], materialize_grads=True))
    with torch.no_grad():
        to_read, to_bias = (sum(parts) / (_SCALE * len(parts)) for parts in zip(*slopes, strict=True))
        moved = (to_read * step).sum(2)[:, front:]
        estimate = (moved.flip(1).cumsum(1).flip(1) - moved - to_bias).double()
        estimate = nn.functional.pad(estimate, (0, tokens.shape[1] - estimate.shape[1]))
        if code is not None:
            whole = vectors if pooling == "cell" else None
            estimate[present] += _through_code(network, tokens, values, linear, code, to_read[:, 0], whole, goals)
    return estimate


def _vectors(network: CellBert, embedded: Tensor, bias: Tensor, present: Tensor, pooling: Pooling) -> Tensor:
    """Return the cell token, or the mean over tokens, float32, shape (n, width), under a bias on attention to tokens.

    The last layer is computed for the cell token alone, and not at all for the mean.
    """
    front = int(network.has_cell_token)
    seen = nn.functional.pad(torch.where(present, bias, _UNSEEN), (front, 0))
    *lower, last = network.bert.encoder.layer
    hidden = network.bert.embeddings(inputs_embeds=embedded)
    for layer in lower:
        hidden = _layer(layer, hidden, hidden, seen)
    if pooling == "cell":
        return network.cell_vectors(_layer(last, hidden[:, :1], hidden, seen)).float()
    share = present.unsqueeze(-1)
    return (hidden[:, front:].float() * share).sum(1) / share.sum(1)


def _layer(layer: Any, asking: Tensor, hidden: Tensor, seen: Tensor) -> Tensor:
    """Return a layer's output for the tokens ``asking``, under a bias on the logits of each token of ``hidden``.

    The bias travels as one number more of each key, against a 1 in each query: so attention stays fused, and its
    memory linear in the length, though the bias has a gradient.
    """
    query, key, value = query_key_value(layer, asking, hidden)
    scaling = layer.attention.self.scaling
    column = (seen / scaling).to(key.dtype)[:, None, :, None].expand(*key.shape[:3], 1)
    context = nn.functional.scaled_dot_product_attention(
        nn.functional.pad(query, (0, 1), value=1.0),
        torch.cat([key, column], dim=3),
        nn.functional.pad(value, (0, 1)),
        scale=scaling,
    )[..., :-1]
    return after_attention(layer, asking, context)


def _through_code(
    network: CellBert,
    tokens: Tensor,
    values: Tensor,
    linear: Any,
    code: Any,
    to_start: Tensor | None,
    vectors: Tensor | None,
    goals: Tensor,
) -> Tensor:
    """Return what goes through the profile code, float64, shape (n_tokens without padding,).

    ``linear`` and ``code`` are the profile encoder's of whole cells. With ``to_start``, the gradient to the cell
    token's start, by way of that; and with ``vectors``, of which the code is the last part, through the code itself.
    """
    encoder: Any = network.profile_encoder
    present = tokens != PAD
    owner = present.nonzero()[:, 0]
    shown = values[present].clamp(min=0).unsqueeze(1)
    without = linear[owner] - shown * encoder.rows(tokens[present] - N_SPECIAL)
    change = encoder.code(without) - code[owner]
    estimate = torch.zeros(len(owner), dtype=torch.float64, device=owner.device)
    if to_start is not None:
        to_leading = (to_start @ network.code_to_cell.weight.float())[owner]  # type: ignore[union-attr,operator]
        estimate = (encoder.leading(change) * to_leading).sum(1).double()
    if vectors is None:
        return estimate
    dot = (vectors.double() * goals.double()).sum(1)
    square = vectors.double().square().sum(1)
    size = code.shape[1]
    new_dot = dot[owner] + (change * goals[owner, -size:]).sum(1).double()
    new_square = square[owner] + (change * (2 * code[owner] + change)).sum(1).double()
    length = goals.double().norm(dim=1)
    return estimate + new_dot / (new_square.sqrt() * length[owner]) - (dot / (square.sqrt() * length))[owner]
