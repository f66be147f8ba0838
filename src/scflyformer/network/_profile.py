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
    """Turns the values of a cell's visible tokens into a code: a linear part, and one through a small network.

    The linear part projects onto the directions in which two halves of a cell's counts agree most
    (:func:`scflyformer.training._directions.reliable_directions`). The other, which reads the first ``size`` of them,
    is trained to tell, from one half of a cell's counts, which of many cells of the same sample the other half comes
    from (:mod:`scflyformer.training._contrast`).

    Parameters
    ----------
    n_genes
        Genes of the vocabulary.
    size
        Numbers that the small network reads, and gives.
    n_directions
        Numbers of the linear part, at least ``size``.

    Attributes
    ----------
    directions
        Shape (n_genes, n_directions).
    centre
        Mean value of each gene, shape (n_genes,): a gene that was not measured counts as average.
    """

    def __init__(self, n_genes: int, size: int, n_directions: int) -> None:
        super().__init__()
        self.size = size
        wide = _WIDEN * size
        self.directions = nn.Parameter(torch.randn(n_genes, n_directions) / n_genes**0.5)
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
        """Return the linear part, float32, shape (n, n_directions).

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

    def contrasted(self, linear: Tensor) -> Tensor:
        """Return the other part, shape (n, size), from the linear one."""
        return self.contrast(linear[:, : self.size])

    def forward(self, tokens: Tensor, values: Tensor, panel: Tensor | None = None) -> Tensor:
        """Return the code of each cell, both parts side by side, float32, shape (n, n_directions + size)."""
        linear = self.linear(self.profile(tokens, values), panel)
        return torch.cat([linear, self.contrasted(linear).float()], dim=1)

    def rescale(self, scale: Tensor) -> None:
        """Multiply each direction by ``scale``, shape (n_directions,); what is read off them stays the same."""
        self.directions.mul_(scale)
        self.contrast[0].weight.div_(scale[: self.size])  # type: ignore[operator]

    def leading(self, code: Tensor) -> Tensor:
        """Return of a code what the cell token starts from, shape (n, 2 * size): all but the later directions."""
        return torch.cat([code[:, : self.size], code[:, -self.size :]], dim=1)
