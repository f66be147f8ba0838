"""How many floating-point operations a cell's embedding needs, part by part; a multiply and an add count as two.

Counted are matrix products alone. What is needed: true lengths, no padding, the last layer for the cell token alone, no
vocabulary head. What the plain loop does: cells padded to the longest of their batch, all layers for all tokens, and
the head on every token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.network._network import _VALUE_WIDTH
from scflyformer.network._profile import _WIDEN

LAYERS, ATTENTION, VALUES, CODE, HEAD = "linear layers", "attention", "value encoder", "profile code", "vocabulary head"


@dataclass(frozen=True)
class Shape:
    """Sizes of a network with a cell token."""

    width: int
    feed_forward: int
    n_layers: int
    n_tokens: int
    code_size: int
    n_directions: int
    n_read: int = 0

    @classmethod
    def of(cls, config: dict[str, Any]) -> Shape:
        """Return the sizes that a model's ``config.json`` tells."""
        code = [int(config.get(name, 0)) for name in ("code_size", "n_directions", "n_read")]
        names = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
        return cls(*(int(config[name]) for name in names), *code)

    @property
    def layer(self) -> int:
        """Operations of a layer's linear parts for one token: query, key, value, output, feed-forward."""
        return 8 * self.width**2 + 4 * self.width * self.feed_forward

    @property
    def values(self) -> int:
        """Operations of the value encoder for one token."""
        return 2 * _VALUE_WIDTH * (1 + self.width)

    @property
    def code(self) -> int:
        """Operations of the profile code for one cell."""
        size, read = self.code_size, self.n_read or self.code_size
        wide = _WIDEN * read
        contrast = 2 * (read * wide + wide**2 + wide * size)
        linear = 2 * (self.n_tokens - N_SPECIAL) * (self.n_directions + self.n_read)
        return linear + contrast + 4 * size * self.width

    @property
    def head(self) -> int:
        """Operations of the vocabulary head for one token."""
        return 2 * self.width**2 + 2 * self.width * self.n_tokens


def needed(shape: Shape, lengths: np.ndarray) -> dict[str, float]:
    """Return the mean operations a cell by part, for cells of ``lengths`` genes."""
    genes = np.asarray(lengths, dtype=float)
    tokens = genes + 1  # the cell token
    full = shape.n_layers - 1
    last = 4 * shape.width**2 * tokens + shape.layer - 4 * shape.width**2  # keys and values of all, the rest of one
    parts = {
        LAYERS: full * shape.layer * tokens + last,
        ATTENTION: 4 * shape.width * (full * tokens**2 + tokens),
        VALUES: shape.values * genes,
        CODE: np.full(len(genes), shape.code if shape.code_size else 0),
    }
    return {part: float(np.mean(flops)) for part, flops in parts.items()}


def reference(shape: Shape, lengths: np.ndarray, batch: int) -> dict[str, float]:
    """Return the same of the plain loop with batches of ``batch`` cells in this order."""
    genes = np.concatenate(
        [np.full(len(part), part.max()) for part in np.split(np.asarray(lengths), range(batch, len(lengths), batch))]
    ).astype(float)
    tokens = genes + 1
    parts = {
        LAYERS: shape.n_layers * shape.layer * tokens,
        ATTENTION: 4 * shape.width * shape.n_layers * tokens**2,
        VALUES: shape.values * genes,
        CODE: np.full(len(genes), shape.code if shape.code_size else 0),
        HEAD: shape.head * tokens,
    }
    return {part: float(np.mean(flops)) for part, flops in parts.items()}
