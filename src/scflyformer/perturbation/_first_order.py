"""A first-order screen: what deleting each gene of a cell would do, from the gradient at the whole cell."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class FirstOrder:
    """Estimates of what deleting each token of some cells does.

    Attributes
    ----------
    total
        Change of the dot product of the cell's direction with each of the vectors asked for, float64, shape (n_tokens,
        n_vectors); NaN in cells of one token.
    linear
        That of the profile code alone, of the same shape; `None` for a mean over tokens. Exact, but that the cell token
        beside it is that of the estimate, every token half a step up.
    size
        How far the code moves the cell's direction, shape (n_tokens,); for a mean, the root mean square of ``total``.
    """

    total: np.ndarray
    linear: np.ndarray | None
    size: np.ndarray


def first_order_changes(
    network: CellBert,
    rows: TokenRows,
    vectors: np.ndarray,
    *,
    pooling: Pooling,
    running: Running = AS_SET,
    bar: Any = None,
) -> FirstOrder:
    """Estimate how the direction of a cell changes when a gene is deleted, for every gene of every cell.

    The exact change (:func:`scflyformer.perturbation._copies.read_copies`) takes a pass for each gene; the estimate
    takes one pass, and its gradient for each of the vectors, for all genes of a cell; two for the mean. It adds up

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
    vectors
        What the direction of a cell is held against, shape (n_vectors, width).
    pooling
        As for :func:`scflyformer.network._infer.embed_rows`; for ``"code"`` the result is exact.
    running
        How to run; `SCREEN_TOKENS` a batch unless a number of tokens is asked for.
    """
    check_embedding(network, pooling, running)
    limit = network.limit(pooling)
    if len(rows) and rows.lengths.max() > limit:
        raise ValueError(f"A cell has {rows.lengths.max()} tokens, and the network reads {limit}; cut the cells first.")
    target, number = pick_place(running)
    network.to(target).eval()  # type: ignore[arg-type]
    panel = None if rows.panel is None else torch.from_numpy(rows.panel).to(target)
    length = np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)
    goals = torch.from_numpy((vectors / length[:, None]).astype(np.float32)).to(target)
    through_code = pooling != "mean" and network.profile_encoder is not None
    shape = len(rows.tokens), len(vectors)
    total, linear = np.full(shape, np.nan), np.full(shape, np.nan) if through_code else None
    size = np.full(len(rows.tokens), np.nan)
    mixed = nullcontext() if number == torch.float32 else torch.autocast(target.type, dtype=number)
    known = np.flatnonzero(rows.lengths > 1)

    def run(batch: np.ndarray) -> None:
        cells = known[batch]
        tokens, values = padded(network, rows, cells, target, pooling=pooling)
        with mixed:
            parts = _estimate(network, tokens, values, panel, goals, pooling)
        place = pad_rows(rows.indptr, np.arange(len(rows.tokens)), cells, -1, limit=limit)
        place = place[place >= 0]
        total[place] = parts[0].cpu().numpy()
        if linear is not None:
            linear[place], size[place] = (part.cpu().numpy() for part in parts[1:])

    budget = pick_batch_tokens(running.batch_tokens, target, default=SCREEN_TOKENS)
    run_batches(network, run, rows.lengths[known], budget, bar=bar)
    if bar is not None:
        bar.update(len(rows) - len(known))
    if linear is None:
        size = np.sqrt((total**2).mean(1))
    return FirstOrder(total * length, None if linear is None else linear * length, size)


def _estimate(
    network: CellBert, tokens: Tensor, values: Tensor, panel: Tensor | None, goals: Tensor, pooling: Pooling
) -> tuple[Tensor, ...]:
    """Return the estimate for each token of a padded batch; where there is a code, its own part and its size as well.

    Shapes (n_tokens without padding, n_goals), twice, and (n_tokens without padding,); ``goals`` have length 1.
    """
    front, present = int(network.has_cell_token), tokens != PAD
    encoder, code = network.profile_encoder, None
    moved: _CodeMoves | None = None
    if encoder is not None:
        with torch.no_grad():
            linear = encoder.linear(encoder.profile(tokens, values), panel)
            code = encoder.code(linear)
            owner = present.nonzero()[:, 0]
            shown = values[present].clamp(min=0).unsqueeze(1)
            without = linear[owner] - shown * encoder.rows(tokens[present] - N_SPECIAL)
            moved = _CodeMoves(code, encoder.code(without) - code[owner], owner)
    if pooling == "code":
        alone, size = moved.changes(code, goals)  # type: ignore[union-attr,arg-type]
        return alone, alone, size
    seen = present[:, : network.bert_len]
    with torch.no_grad():
        embedded = network._embedded(tokens, values, None, code)[0].float()
        position = network.bert.embeddings.position_embeddings.weight[: embedded.shape[1]].float()
        step = torch.zeros_like(position)
        step[front + 1 :] = position[front:-1] - position[front + 1 :]
    bias = torch.zeros(seen.shape, device=tokens.device, requires_grad=True)
    zeros = torch.zeros(seen.shape, dtype=torch.float64, device=tokens.device)
    estimates, starts = [zeros] * len(goals), [zeros.new_zeros(1, dtype=torch.float32)] * len(goals)
    shares = _SHARES[pooling]
    for share in shares:
        read = (embedded + share * step).requires_grad_()
        with torch.enable_grad():
            vectors = _vectors(network, read, bias, seen, pooling)
            if code is not None and pooling == "cell":
                vectors = torch.cat([vectors, code], dim=1)
            cosines = ((nn.functional.normalize(vectors, dim=1) @ goals.T).sum(0) * _SCALE).unbind()
        for number, cosine in enumerate(cosines):
            to_read, to_bias = torch.autograd.grad(
                cosine, [read, bias], retain_graph=number + 1 < len(goals), materialize_grads=True
            )
            with torch.no_grad():
                step_up = (to_read * step).sum(2)[:, front:]
                through = (step_up.flip(1).cumsum(1).flip(1) - step_up - to_bias).double()
                estimates[number] = estimates[number] + through / (_SCALE * len(shares))
                starts[number] = starts[number] + to_read[:, 0] / (_SCALE * len(shares))
    with torch.no_grad():
        room = tokens.shape[1] - seen.shape[1]
        total = torch.stack([nn.functional.pad(part, (0, room))[present] for part in estimates], dim=1)
        if moved is None:
            return (total,)
        for number, to_start in enumerate(starts):
            to_leading = (to_start @ network.code_to_cell.weight.float())[owner]  # type: ignore[union-attr,operator]
            total[:, number] += (encoder.leading(moved.change) * to_leading).sum(1).double()  # type: ignore[union-attr]
        if pooling == "mean":
            return (total,)
        alone, size = moved.changes(vectors, goals)
    return total + alone, alone, size


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


class _CodeMoves:
    """How the profile code of each cell changes without each of its tokens: (n_cells, size), and (n_tokens, size)."""

    def __init__(self, code: Tensor, change: Tensor, owner: Tensor) -> None:
        self.code, self.change, self.owner = code, change, owner

    def changes(self, vectors: Tensor, goals: Tensor) -> tuple[Tensor, Tensor]:
        """Return the change of the cosine with each goal and the length of the move, the rest of the cell held still.

        ``vectors`` are whole embeddings, of which the code is the last part. Float64, shapes (n_tokens, n_goals) and
        (n_tokens,).
        """
        vectors, owner = vectors.double(), self.owner
        square = vectors.square().sum(1)
        overlap = (self.change * self.code[owner]).sum(1).double()
        length = square[owner].sqrt()
        new_length = (square[owner] + 2 * overlap + self.change.square().sum(1).double()).sqrt()
        dot = (vectors @ goals.double().T)[owner]
        new_dot = dot + (self.change @ goals[:, -self.code.shape[1] :].T).double()
        cosine = (square[owner] + overlap) / (length * new_length)
        size = (2 - 2 * cosine).clamp(min=0).sqrt()
        return new_dot / new_length[:, None] - dot / length[:, None], size
