"""How the time and memory of a scan of all genes by `tl.perturb` go with groups and with genes.

Cells of the youngest and the oldest age are assigned to groups at random; genes are left out to have fewer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import scflyformer as sf

from .part import GENE_KEY, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .settings import Settings

CELLS, EDITED = 1600, 12
"""Cells of the two states, and how many a group has edited."""
GENES = 500
"""Genes where groups grow."""


class Scan(Part):
    """A scan of all genes, in ``size`` groups of cells or with ``size`` genes."""

    def __init__(self, settings: Settings, axis: str, size: int, *, few: bool = False) -> None:
        super().__init__(settings, few=few)
        self.axis, self.size = axis, size

    def setup(self) -> None:
        """Draw cells of both ages and assign them to groups."""
        super().setup()
        cells = self.settings.draw(self.settings.some(0, 2000))
        age = cells.obs["age"].to_numpy(float)
        self.ages = age.min(), age[age <= 30].max()
        of_age = np.flatnonzero(np.isin(age, self.ages))
        random = np.random.default_rng(0)
        kept = random.choice(of_age, min(len(of_age), self.settings.some(CELLS, 200)), replace=False)
        self.adata = cells[np.sort(kept)].copy()
        n_groups, n_genes = (1, self.size) if self.axis == "genes" else (self.size, GENES)
        genes = random.choice(cells.n_vars, min(cells.n_vars, n_genes), replace=False)
        self.adata = self.adata[:, np.sort(genes)].copy()
        self.adata.obs["group"] = random.integers(n_groups, size=self.adata.n_obs).astype(str)
        self.units = n_groups * EDITED

    def ours(self) -> None:
        """Scan."""
        goal, start = self.ages
        with sf.settings.override(device=self.settings.device, dtype="float32"):
            sf.tl.perturb(
                self.adata,
                genes="all",
                state_key="age",
                start=start,
                goal=goal,
                sample_key="batch",
                groupby="group",
                max_cells=EDITED,
                n_top=5,
                model=self.settings.model,
                gene_key=GENE_KEY,
            )


def scans(settings: Settings) -> Iterator[tuple[str, str, dict[int, Callable[..., Part]]]]:
    """Yield the part, what grows, and what makes the part by size."""
    for axis, sizes in (
        ("groups", settings.some((1, 2, 4, 8), (1, 2))),
        ("genes", settings.some((500, 1000, 2000), (300,))),
    ):
        yield "scan", axis, {n: partial(Scan, axis=axis, size=n) for n in sizes}
