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
    (:func:`scflyformer.training._directions.reliable_directions`). The other is trained to tell, from one half of a
    cell's counts, which of many cells of the same sample the other half comes from
    (:mod:`scflyformer.training._contrast`): ``size`` numbers. It reads ``n_read`` directions, trained with it,
    ``contrast_directions`` (n_genes, n_read); where that is 0, as in models of 0.1, the first ``size`` of
    ``directions`` (n_genes, n_directions). ``centre`` is the mean value of each gene: one that was not measured counts
    as average.
    """

    def __init__(self, n_genes: int, size: int, n_directions: int, n_read: int = 0) -> None:
        super().__init__()
        self.size, self.n_read = size, n_read
        read = n_read or size
        wide = _WIDEN * read
        self.directions = nn.Parameter(torch.randn(n_genes, n_directions) / n_genes**0.5)
        self.contrast_directions = nn.Parameter(torch.randn(n_genes, n_read) / n_genes**0.5) if n_read else None
        self.centre = nn.Parameter(torch.zeros(n_genes))
        self.contrast = nn.Sequential(
            nn.Linear(read, wide), nn.GELU(), nn.LayerNorm(wide),
            nn.Linear(wide, wide), nn.GELU(), nn.LayerNorm(wide),
            nn.Linear(wide, size), nn.LayerNorm(size, elementwise_affine=False),
        )  # fmt: skip

    def profile(self, tokens: Tensor, values: Tensor) -> Tensor:
        """Return the values gene by gene, 0 where a gene is absent or hidden, float32, shape (n, n_genes)."""
        genes = values.new_zeros(len(tokens), N_SPECIAL + len(self.centre), dtype=torch.float32)
        return genes.scatter_add_(1, tokens, values.float().clamp(min=0))[:, N_SPECIAL:]

    @property
    def read_directions(self) -> nn.Parameter:
        """The directions that the small network reads, which may be the first of further ones."""
        return self.directions if self.contrast_directions is None else self.contrast_directions

    @property
    def weights(self) -> list[Tensor]:
        """What a gene's value adds to each number that is linear in it: first what is read alone, then directions."""
        return [part for part in (self.contrast_directions, self.directions) if part is not None]

    def rows(self, genes: Tensor) -> Tensor:
        """Return the weights of ``genes``, positions, float32, shape (n_asked, n_read + n_directions)."""
        return torch.cat([part[genes].float() for part in self.weights], dim=1)

    def linear(self, profile: Tensor, panel: Tensor | None) -> Tensor:
        """Return the numbers that are linear in values, float32, shape (n, n_read + n_directions)."""
        with torch.autocast(profile.device.type, enabled=False):
            expected = self.centre if panel is None else self.centre * panel
            centred = profile - expected
            return torch.cat([centred @ part.float() for part in self.weights], dim=1)

    def contrasted(self, read: Tensor) -> Tensor:
        """Return the other part, shape (n, size), from the numbers that it reads, which come first."""
        return self.contrast(read[:, : self.n_read or self.size])

    def code(self, linear: Tensor) -> Tensor:
        """Return the code, both parts one after the other, float32, shape (n, n_directions + size)."""
        return torch.cat([linear[:, self.n_read :], self.contrasted(linear).float()], dim=1)

    def forward(self, tokens: Tensor, values: Tensor, panel: Tensor | None = None) -> Tensor:
        """Return the code of each cell, float32, shape (n, n_directions + size)."""
        return self.code(self.linear(self.profile(tokens, values), panel))

    def rescale(self, scale: Tensor) -> None:
        """Multiply each direction by ``scale``, shape (n_directions,); what is read off them stays the same."""
        self.directions.mul_(scale)
        if not self.n_read:
            self.contrast[0].weight.div_(scale[: self.size])  # type: ignore[operator]

    def leading(self, code: Tensor) -> Tensor:
        """Return of a code what the rest of the network reads, shape (n, 2 * size): all but the later directions."""
        return torch.cat([code[:, : self.size], code[:, -self.size :]], dim=1)


def make_other_half(code_size: int, width: int) -> nn.Module:
    """Return the network that says from the code of one half of a cell which cell vector the other half should have."""
    wide = 2 * code_size
    return nn.Sequential(nn.Linear(code_size, wide), nn.GELU(), nn.LayerNorm(wide), nn.Linear(wide, width))
