"""The profile encoder: a cell's values as a whole, order apart, in a few hundred numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scflyformer.genes._vocabulary import N_SPECIAL

if TYPE_CHECKING:
    from torch import Tensor

_WIDEN = 3


class ProfileEncoder(nn.Module):
    """Turns the values of a cell's visible tokens into a code: half linear, half through a small network.

    The linear half projects onto the directions in which two halves of a cell's counts agree most
    (:func:`scflyformer.training._directions.reliable_directions`). The other half is trained to tell, from one half of
    a cell's counts, which of many cells of the same sample the other half comes from
    (:mod:`scflyformer.training._contrast`).

    Attributes
    ----------
    directions
        Shape (n_genes, size).
    centre
        Mean value of each gene, shape (n_genes,): a gene that was not measured counts as average.
    """

    def __init__(self, n_genes: int, size: int) -> None:
        super().__init__()
        wide = _WIDEN * size
        self.directions = nn.Parameter(torch.zeros(n_genes, size))
        self.centre = nn.Parameter(torch.zeros(n_genes))
        self.contrast = nn.Sequential(
            nn.Linear(size, wide), nn.GELU(), nn.LayerNorm(wide),
            nn.Linear(wide, wide), nn.GELU(), nn.LayerNorm(wide),
            nn.Linear(wide, size), nn.LayerNorm(size, elementwise_affine=False),
        )  # fmt: skip

    def profile(self, tokens: Tensor, values: Tensor) -> Tensor:
        """Return the values gene by gene, 0 where a gene is absent or hidden, float32, shape (n, n_genes)."""
        genes = values.new_zeros(len(tokens), N_SPECIAL + len(self.centre), dtype=torch.float32)
        return genes.scatter_add_(1, tokens, values.float().clamp(min=0))[:, N_SPECIAL:]

    def linear(self, profile: Tensor, panel: Tensor | None) -> Tensor:
        """Return the linear half, float32, shape (n, size).

        Parameters
        ----------
        profile
            See :meth:`profile`.
        panel
            Genes that were measured, bool, shape (n_genes,) or (n, n_genes); `None` for all.
        """
        with torch.autocast(profile.device.type, enabled=False):
            expected = self.centre if panel is None else self.centre * panel
            return (profile - expected) @ self.directions.float()

    def forward(self, tokens: Tensor, values: Tensor, panel: Tensor | None = None) -> Tensor:
        """Return the code of each cell, shape (n, 2 * size)."""
        linear = self.linear(self.profile(tokens, values), panel)
        return torch.cat([linear, self.contrast(linear).float()], dim=1)
