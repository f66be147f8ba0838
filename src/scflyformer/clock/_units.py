"""The cells, pseudocells or pseudobulks that a clock is fitted on: which cells are averaged, and their means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from scflyformer.data._columns import plain_names

if TYPE_CHECKING:
    from collections.abc import Sequence

Aggregate = Literal["none", "pseudocell", "pseudobulk"]
EXPRESSION = "expression"
"""The block that holds log1p of normalised counts: those, not their logarithms, are averaged."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells with ages, or pseudocells.

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

    def aggregate(self, pseudocells: np.ndarray) -> Cells:
        """Return the means over pseudocells (a number a cell), within each of which age and sample are the same."""
        order = np.argsort(self.names.astype(str), kind="stable")  # the first cell by name gives its name
        first = order[np.unique(pseudocells[order], return_index=True)[1]]
        blocks = {name: block_means(name, block, pseudocells) for name, block in self.blocks.items()}
        sizes = np.bincount(pseudocells)
        names = [f"{name} and {n - 1} more" for name, n in zip(plain_names(self.names[first]), sizes, strict=True)]
        samples = None if self.samples is None else self.samples[first]
        return Cells(np.array(names, dtype=object), self.ages[first], samples, blocks)


def block_means(name: str, block: Any, pseudocells: np.ndarray) -> Any:
    """Return a feature matrix's means over pseudocells; expression is averaged before the logarithm."""
    if name != EXPRESSION:
        return row_means(block, pseudocells)
    plain = sparse.csr_matrix(block, copy=True)
    plain.data = np.expm1(plain.data)
    means = row_means(plain, pseudocells)
    means.data = np.log1p(means.data)
    return means


def row_means(x: Any, pseudocells: np.ndarray) -> Any:
    """Return the mean of the rows of each pseudocell, shape (n_pseudocells, n_features), sparse where ``x`` is."""
    n_cells, n = len(pseudocells), int(pseudocells.max()) + 1
    share = 1 / np.bincount(pseudocells, minlength=n)[pseudocells]
    mean = sparse.csr_matrix((share, (pseudocells, np.arange(n_cells))), shape=(n, n_cells))
    return mean @ x


def assign_pseudocells(
    names: np.ndarray, keys: Sequence[np.ndarray], how: Aggregate, *, size: int, seed: int
) -> np.ndarray:
    """Return the number of each cell's pseudocell; by ``"none"`` each cell is one by itself.

    Cells are drawn by name, so their order has no influence.

    Parameters
    ----------
    keys
        What must be the same within a pseudocell (sample, age, fold), each of shape (n_cells,).
    size
        Cells a pseudocell, about.
    """
    if how == "none":
        return np.arange(len(names))
    strata = np.zeros(len(names), dtype=np.int64)
    for key in keys:
        codes = np.unique(key.astype(str), return_inverse=True)[1]
        strata = np.unique(np.stack([strata, codes]), axis=1, return_inverse=True)[1].ravel()
    order = np.argsort(names.astype(str), kind="stable")
    return split_strata(strata, order, size=size if how == "pseudocell" else None, seed=seed)


def split_strata(strata: np.ndarray, order: np.ndarray, *, size: int | None, seed: int) -> np.ndarray:
    """Split the cells of each stratum at random into parts of nearly the same size, numbered by stratum.

    Parameters
    ----------
    order
        A permutation of the cells that does not depend on how they were given (by name), shape (n_cells,).
    size
        Cells a part, about; `None` for one part a stratum.
    """
    random = np.random.default_rng(seed)
    shuffled = order[random.permutation(len(order))]
    part, n = np.empty(len(strata), dtype=np.int64), 0
    for stratum in np.unique(strata):
        cells = shuffled[strata[shuffled] == stratum]
        n_parts = 1 if size is None else max(round(len(cells) / size), 1)
        part[cells] = n + np.arange(len(cells)) % n_parts
        n += n_parts
    return part
