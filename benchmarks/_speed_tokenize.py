"""Speed of `pp.tokenize` beside two loops over rows."""

from __future__ import annotations

import numpy as np
from _speed_part import GENE_KEY, Line, Part
from scipy import sparse
from tokenize_speed import bare_loop, gene_medians

import scflyformer as sf


def fuller_loop(matrix: sparse.csr_matrix, medians: np.ndarray, max_len: int) -> list[np.ndarray]:
    """Scale each row to 10,000, divide by medians, rank, cut: the recipe as it is usually written."""
    out = []
    for row in range(matrix.shape[0]):
        cell = matrix[row]
        scaled = cell.data / cell.data.sum() * 10_000 / medians[cell.indices]
        out.append(cell.indices[np.argsort(-scaled)][:max_len])
    return out


class Tokenize(Part):
    """All cells of the file."""

    lines = (
        Line("beside a loop that ranks and nothing else"),
        Line("beside a loop that scales, ranks and cuts", reference="fuller"),
    )

    def setup(self) -> None:
        """Read cells."""
        super().setup()
        self.adata = self.cells(self.settings.some(0, 2000))
        self.units = self.adata.n_obs
        self.medians = gene_medians(self.adata.X)
        self.max_len = sf.models.load(self.settings.model).max_len

    def time_ours(self) -> None:
        """Tokenize with the package, which opens the model, resolves names, checks values and writes keys as well."""
        sf.pp.tokenize(self.adata, model=self.settings.model, gene_key=GENE_KEY)

    def time_reference(self) -> None:
        """Rank each row."""
        self.found["reference"] = bare_loop(self.adata.X, self.medians)

    def time_fuller(self) -> None:
        """Scale, rank and cut each row."""
        self.found["fuller"] = fuller_loop(self.adata.X, self.medians, self.max_len)

    def note(self, line: Line) -> str:
        """Return the number of cells and genes."""
        a_cell = self.adata.X.nnz / self.adata.n_obs
        return f"{self.units:,} cells × {self.adata.n_vars:,} genes, {a_cell:.0f} a cell"
