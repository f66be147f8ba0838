"""The cells of an object as a perturbation run needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from scflyformer.tokens._rows import TokenRows


@dataclass(frozen=True, eq=False)
class EmbeddedCells:
    """All cells of an object, in its order.

    Attributes
    ----------
    names, samples
        Name of each cell, which settles the order of equals, and its sample; the same everywhere where there are none.
    rows
        Their tokens.
    vectors
        Their embedding, float32, shape (n_cells, width); zeros for cells that take no part.
    """

    names: np.ndarray
    samples: np.ndarray
    rows: TokenRows
    vectors: np.ndarray
