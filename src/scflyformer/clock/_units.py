"""The cells, pseudocells or pseudobulks that a clock is fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from scflyformer.clock._pseudocells import bundle, bundle_means
from scflyformer.data._columns import plain_names

if TYPE_CHECKING:
    from collections.abc import Sequence

Aggregate = Literal["none", "pseudocell", "pseudobulk"]
EXPRESSION = "expression"
"""The block that holds log1p of normalised counts: those, not their logarithms, are averaged."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with ages, or means over bundles of them.

    Attributes
    ----------
    names
        Names, shape (n_cells,).
    ages
        Ages, without NaN, shape (n_cells,).
    samples
        Sample of each cell, or `None`.
    blocks
        Feature matrices, n_cells × features.
    """

    names: np.ndarray
    ages: np.ndarray
    samples: np.ndarray | None
    blocks: Mapping[str, np.ndarray | sparse.csr_matrix]

    def take(self, rows: np.ndarray) -> Cells:
        """Return some of the cells."""
        samples = None if self.samples is None else self.samples[rows]
        return Cells(self.names[rows], self.ages[rows], samples, {k: block[rows] for k, block in self.blocks.items()})

    @property
    def n_samples(self) -> int:
        """Samples among the cells; 0 where none are named."""
        return 0 if self.samples is None else len(np.unique(self.samples.astype(str)))

    @property
    def units(self) -> np.ndarray:
        """What intervals draw: samples, or cells where none are named."""
        return self.names if self.samples is None else self.samples

    @property
    def split(self) -> str:
        """What is held out."""
        return "cell" if self.samples is None else "sample"

    def bundled(self, bundles: np.ndarray) -> Cells:
        """Return the means of bundles (a number a cell), within each of which age and sample are the same."""
        order = np.argsort(self.names.astype(str), kind="stable")  # a bundle's name is that of its first cell by name
        first = order[np.unique(bundles[order], return_index=True)[1]]
        blocks = {name: block_means(name, block, bundles) for name, block in self.blocks.items()}
        sizes = np.bincount(bundles)
        names = [f"{name} and {n - 1} more" for name, n in zip(plain_names(self.names[first]), sizes, strict=True)]
        samples = None if self.samples is None else self.samples[first]
        return Cells(np.array(names, dtype=object), self.ages[first], samples, blocks)


def block_means(name: str, block: Any, bundles: np.ndarray) -> Any:
    """Return a feature matrix's means over bundles; expression is averaged before the logarithm."""
    if name != EXPRESSION:
        return bundle_means(block, bundles)
    plain = sparse.csr_matrix(block, copy=True)
    plain.data = np.expm1(plain.data)
    means = bundle_means(plain, bundles)
    means.data = np.log1p(means.data)
    return means


def deal(names: np.ndarray, keys: Sequence[np.ndarray], how: Aggregate, *, size: int, seed: int) -> np.ndarray:
    """Return the bundle of each cell.

    Parameters
    ----------
    names
        Cell names; the order of cells has no influence.
    keys
        What must be the same within a bundle (sample, age, fold), each of shape (n_cells,).
    how
        ``"none"``: each cell by itself.
    size
        Cells a pseudocell, about.
    seed
        Seed of the deal.
    """
    if how == "none":
        return np.arange(len(names))
    strata = np.zeros(len(names), dtype=np.int64)
    for key in keys:
        codes = np.unique(key.astype(str), return_inverse=True)[1]
        strata = np.unique(np.stack([strata, codes]), axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(names.astype(str), kind="stable")
    return bundle(strata, order, size=size if how == "pseudocell" else None, seed=seed)
