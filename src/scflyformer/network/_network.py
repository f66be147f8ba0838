"""The network: a `transformers` BERT over ranked genes, with a value per token and a cell token in front.

Parts beyond BERT carry their own prefix in ``model.safetensors`` (``value_encoder``, ``profile_encoder``,
``code_to_cell``, ``cell_norm``, ``profile_decoder``, ``other_half``); ``bert`` and ``cls`` are named as in
:class:`transformers.BertForMaskedLM`, which opens the same file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import BertConfig, BertModel, BertPreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertOnlyMLMHead

from scflyformer.genes._vocabulary import CELL, N_SPECIAL, PAD
from scflyformer.network._profile import ProfileEncoder, make_other_half

if TYPE_CHECKING:
    from torch import Tensor

Objective = Literal["cell", "mlm"]
Pooling = Literal["cell", "mean", "code"]
_VALUE_WIDTH = 64
TEMPERATURE = 0.1
"""Of the contrast between halves of a cell's counts."""


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """What the network is for and how large it is; the profile code goes with ``objective="cell"``."""

    objective: Objective
    hidden_size: int
    n_layers: int
    n_heads: int
    feed_forward: int
    max_len: int  # gene tokens; the cell token takes one position more
    dropout: float
    code_size: int = 0  # of the profile code; 0 for none
    n_directions: int | None = None  # of the profile code; `code_size` where `None`
    bert_len: int | None = None  # gene tokens that BERT reads, the first; all where `None`


def make_config(n_tokens: int, shape: NetworkShape) -> BertConfig:
    """Return a BERT configuration; the objective and the sizes of the profile code travel inside it."""
    has_cell_token = shape.objective == "cell"
    code_size = shape.code_size if has_cell_token else 0
    return BertConfig(
        vocab_size=n_tokens,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=(shape.bert_len or shape.max_len) + has_cell_token,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=0.0,
        type_vocab_size=1,
        pad_token_id=PAD,
        objective=shape.objective,  # type: ignore[call-arg]
        code_size=code_size,
        n_directions=(shape.n_directions or code_size) if code_size else 0,
        n_read=code_size,
        max_len=shape.max_len,
        finds_halves=code_size > 0,
    )


class CellBert(BertPreTrainedModel):
    """BERT over ranked gene tokens.

    With ``config.objective == "cell"`` each token also carries its value, and a cell token stands in front, from
    which a linear decoder gives the cell's expression profile. The cell token starts from a code of the visible values
    (:class:`~scflyformer.network._profile.ProfileEncoder`) where ``config.code_size`` is above 0. With ``"mlm"`` (the
    article's recipe) it is a plain masked language model over gene tokens.
    """

    _tied_weights_keys = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.has_cell_token = getattr(config, "objective", "mlm") == "cell"
        self.bert = BertModel(config, add_pooling_layer=False)
        self.cls = BertOnlyMLMHead(config)
        self.profile_encoder: ProfileEncoder | None = None
        if self.has_cell_token:
            width = config.hidden_size
            self.value_encoder = nn.Sequential(nn.Linear(1, _VALUE_WIDTH), nn.GELU(), nn.Linear(_VALUE_WIDTH, width))
            self.cell_norm = nn.LayerNorm(width)
            self.profile_decoder = nn.Linear(width, self.n_genes)
            size = getattr(config, "code_size", 0)
            n_read = getattr(config, "n_read", 0)
            if size:
                self.profile_encoder = ProfileEncoder(self.n_genes, size, config.n_directions, n_read)
            self.code_to_cell = nn.Linear(2 * size, width) if size else None
            self.other_half = make_other_half(2 * size, width) if self.finds_halves else None
        self.post_init()

    @property
    def max_len(self) -> int:
        """Gene tokens a cell may have: the profile code reads them all."""
        return getattr(self.config, "max_len", None) or self.bert_len

    @property
    def bert_len(self) -> int:
        """Gene tokens that BERT reads, the highest ranked."""
        return self.config.max_position_embeddings - self.has_cell_token

    @property
    def finds_halves(self) -> bool:
        """Whether the cell token learns to find the other half of a cell's counts."""
        return self.has_cell_token and getattr(self.config, "finds_halves", False)

    def limit(self, pooling: Pooling) -> int:
        """Gene tokens of a cell that an embedding is made of; the mean has no use for one that BERT does not read."""
        return self.bert_len if pooling == "mean" else self.max_len

    @property
    def n_genes(self) -> int:
        """Genes of the vocabulary."""
        return self.config.vocab_size - N_SPECIAL

    def embedding_size(self, pooling: Pooling) -> int:
        """Width of an embedding: the cell token and the profile code, one token's, or the code's."""
        code = getattr(self.config, "code_size", 0) + getattr(self.config, "n_directions", 0)
        return {"cell": self.config.hidden_size + code, "mean": self.config.hidden_size, "code": code}[pooling]

    def encode(
        self,
        tokens: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        *,
        panel: Tensor | None = None,
        layer: int = -1,
    ) -> Tensor:
        """Return hidden states, (n, length + 1, width) with the cell token first, or (n, length, width) without one.

        ``tokens``, int64, and ``values``, below zero where hidden, are (n, length) in rank order; the length of what
        comes out is `bert_len` at most. ``mask`` is 1 where there is a token, `None` where nothing is padded. ``panel``
        says which genes were measured, bool, (n_genes,) or (n, n_genes); `None` for all. ``layer`` is -1 for the last,
        -2 for the one before.
        """
        embedded, mask = self._embedded(tokens, values, mask, self.code(tokens, values, panel))
        if layer == -1:
            return self.bert(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return self._lower(embedded, mask, len(self.bert.encoder.layer) + 1 + layer)

    def embed(
        self,
        tokens: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        *,
        panel: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Tensor:
        """Return the embedding, cell token and profile code side by side, shape (n, embedding_size).

        With ``shown``, positions of tokens, int64, (n, n_shown), BERT reads these alone and the profile code all. The
        last layer is computed for the cell token alone: the same numbers as from `encode`, sooner.
        """
        code = self.code(tokens, values, panel)
        if shown is not None:
            tokens, values = tokens.gather(1, shown), values.gather(1, shown)
        cells = self.cell_vectors(self._cell_token(*self._embedded(tokens, values, mask, code)))
        return cells if code is None else torch.cat([cells.float(), code], dim=1)

    def code(self, tokens: Tensor, values: Tensor, panel: Tensor | None) -> Tensor | None:
        """Return the profile code alone, float32, shape (n, n_directions + code_size); `None` where there is none."""
        return None if self.profile_encoder is None else self.profile_encoder(tokens, values, panel)

    def _embedded(
        self, tokens: Tensor, values: Tensor, mask: Tensor | None, code: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what BERT reads, the cell token in front, and its mask."""
        tokens, values = tokens[:, : self.bert_len], values[:, : self.bert_len]
        mask = None if mask is None else mask[:, : self.bert_len]
        embedded = self.bert.embeddings.word_embeddings(tokens)
        if self.has_cell_token:
            shown = (values >= 0).unsqueeze(-1)
            embedded = embedded + self.value_encoder(values.clamp(min=0).unsqueeze(-1).to(embedded.dtype)) * shown
            cell = self.bert.embeddings.word_embeddings.weight[CELL].expand(len(tokens), -1)
            if code is not None:
                cell = cell + self.code_to_cell(self.profile_encoder.leading(code))  # type: ignore[misc,union-attr]
            embedded = torch.cat([cell.unsqueeze(1).to(embedded.dtype), embedded], dim=1)
            if mask is not None:
                mask = nn.functional.pad(mask, (1, 0), value=1)
        return embedded, mask

    def _lower(self, embedded: Tensor, mask: Tensor | None, n_layers: int) -> Tensor:
        """Return what the first layers make of the tokens; the others are not run."""
        bert: Any = self.bert
        hidden = bert.embeddings(inputs_embeds=embedded)
        layer_mask: Any = None if mask is None else mask.bool()[:, None, None]
        if bert.config._attn_implementation != "sdpa":  # spelt out for every token that asks, which sdpa can do without
            layer_mask = create_bidirectional_mask(bert.config, hidden, mask)
        for layer in bert.encoder.layer[:n_layers]:
            hidden = layer(hidden, layer_mask)
        return hidden

    def _cell_token(self, embedded: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last layer's output for the cell token alone, shape (n, 1, width).

        The other tokens lend that layer their keys and values; what it would make of them is not computed.
        """
        last: Any = self.bert.encoder.layer[-1]
        hidden = self._lower(embedded, mask, len(self.bert.encoder.layer) - 1)
        cell = hidden[:, :1]
        context = nn.functional.scaled_dot_product_attention(
            *query_key_value(last, cell, hidden),
            attn_mask=None if mask is None else mask.bool()[:, None, None],
            dropout_p=last.attention.self.dropout.p if self.training else 0.0,
        )
        return after_attention(last, cell, context)

    def forward(
        self,
        tokens: Tensor,
        values: Tensor,
        selected: Tensor,
        panel: Tensor | None = None,
        *,
        shown: Tensor | None = None,
        others: Tensor | None = None,
        genes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return what pretraining needs of a batch: logits of the selected tokens, of the profile and of other halves.

        ``tokens``, ``values`` and ``panel`` are as for :meth:`encode`. ``shown`` are positions of the tokens that BERT
        reads, int64, (n, n_shown), all where `None`, and then nothing is padded; ``selected`` says which of them are to
        be predicted, bool, of the same shape. ``others`` are the values of the other halves of cells of the same data
        set, among them each cell's own, float32, (n_others, n_genes). ``genes`` are those to give logits for,
        ascending, int64, (n_asked,); `None` for all, and for the special tokens.
        """
        code = self.code(tokens, values, panel)
        if shown is not None:
            tokens, values = tokens.gather(1, shown), values.gather(1, shown)
        hidden = self.bert(inputs_embeds=self._embedded(tokens, values, None, code)[0]).last_hidden_state
        asked = hidden[:, int(self.has_cell_token) :][selected]
        if genes is None:
            out = {"token_logits": self.cls(asked)}
        else:
            head, rows = self.cls.predictions, genes + N_SPECIAL
            read = head.transform(asked)
            out = {"token_logits": nn.functional.linear(read, head.decoder.weight[rows], head.decoder.bias[rows])}
        if self.has_cell_token:
            cells = self.cell_vectors(hidden)
            out["profile_logits"] = self.profile_logits(cells, genes)
            if self.other_half is not None and others is not None:
                out["half_logits"] = self.half_logits(cells, others, None if panel is None else panel[0])
        return out

    def half_logits(self, cells: Tensor, others: Tensor, panel: Tensor | None) -> Tensor:
        """Return how well each of the ``others`` fits each cell vector as its other half, shape (n, n_others)."""
        encoder: Any = self.profile_encoder
        code = encoder.leading(encoder.code(encoder.linear(others, panel)))
        sought = nn.functional.normalize(self.other_half(code).float(), dim=1)  # type: ignore[misc]
        return nn.functional.normalize(cells.float(), dim=1) @ sought.T / TEMPERATURE

    def cell_vectors(self, hidden: Tensor) -> Tensor:
        """Return the cell token as the decoder reads it, shape (n, width), from the last layer's ``hidden``."""
        return self.cell_norm(hidden[:, 0])

    def scale_token(self, size: float) -> None:
        """Bring the root mean square of the cell token to about ``size``; what is read off it stays the same."""
        weight = self.cell_norm.weight
        with torch.no_grad():
            factor = size / weight.square().mean().sqrt()
            for parameter in (weight, self.cell_norm.bias):
                parameter.mul_(factor)
            self.profile_decoder.weight.div_(factor)

    def profile_logits(self, cells: Tensor, genes: Tensor | None = None) -> Tensor:
        """Return log-scale expression of every gene, or of ``genes``, shape (n, n_genes), from cell vectors."""
        decoder = self.profile_decoder
        if genes is None:
            return decoder(cells)
        return nn.functional.linear(cells, decoder.weight[genes], decoder.bias[genes])


def query_key_value(layer: Any, asking: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries of the tokens ``asking``, and keys and values of ``hidden``, (n, heads, tokens, head size)."""
    attention = layer.attention.self
    query, key, value = (
        part.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)
        for part in (attention.query(asking), attention.key(hidden), attention.value(hidden))
    )
    return query, key, value


def after_attention(layer: Any, asking: Tensor, context: Tensor) -> Tensor:
    """Return a layer's output for the tokens ``asking`` from what they attended to, (n, heads, tokens, head size)."""
    return layer.feed_forward_chunk(layer.attention.output(context.transpose(1, 2).flatten(2), asking))
