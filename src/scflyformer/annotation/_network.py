"""A network and a linear readout on its embedding, trained together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scflyformer.network._infer import MEAN_LAYER
from scflyformer.stats._linear import LinearHead

if TYPE_CHECKING:
    from torch import Tensor

    from scflyformer.network._network import CellBert


class CellClassifier(nn.Module):
    """Class scores of cells: the embedding, scaled as ``head`` has it, and a linear layer that starts from it."""

    def __init__(self, network: CellBert, head: LinearHead, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.network = network
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.tensor(head.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(head.scale, dtype=torch.float32))
        self.weight = nn.Parameter(torch.tensor(head.weight, dtype=torch.float32))
        self.bias = nn.Parameter(torch.tensor(head.bias, dtype=torch.float32))

    def forward(
        self, tokens: Tensor, values: Tensor, shown: Tensor, labels: Tensor, panel: Tensor
    ) -> dict[str, Tensor]:
        """Return the cross-entropy, nats, of a batch.

        Parameters
        ----------
        tokens, values, panel
            As for :meth:`CellBert.embed`.
        shown
            Positions of the tokens that BERT reads, ascending, int64, shape (n, n_shown).
        labels
            Class codes, int64, shape (n,).
        """
        if self.network.has_cell_token:
            vectors = self.network.embed(tokens, values, panel=panel, shown=shown)
        else:
            tokens, values = tokens.gather(1, shown), values.gather(1, shown)
            vectors = self.network.encode(tokens, values, layer=MEAN_LAYER).mean(1)
        features = (vectors.float() - self.mean) / self.scale
        with torch.autocast(features.device.type, enabled=False):
            logits = functional.linear(features, self.weight, self.bias)
        return {"loss": functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}

    def readout(self) -> LinearHead:
        """Return the linear layer as it stands."""
        parts = (self.mean, self.scale, self.weight, self.bias)
        return LinearHead(*(part.detach().cpu().double().numpy().copy() for part in parts))
