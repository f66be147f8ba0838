"""Speed of `pp.tokenize` beside two loops over rows."""

from __future__ import annotations

import numpy as np
from scipy import sparse

import scflyformer as sf

from .part import GENE_KEY, Line, Part


def gene_medians(matrix: sparse.csr_matrix) -> np.ndarray:
    """Non-zero median of each column, 1 where a column is empty."""
    columns = sparse.csc_matrix(matrix)
    parts = np.split(columns.data, columns.indptr[1:-1])
    return np.array([np.median(part) if len(part) else 1 for part in parts], dtype=np.float32)


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

    def ours(self) -> None:
        """Tokenize with the package, which opens the model, resolves names, checks values and writes keys as well."""
        sf.pp.tokenize(self.adata, model=self.settings.model, gene_key=GENE_KEY)

    def reference(self) -> list[np.ndarray]:
        """Rank each row's columns by count over median and do nothing else."""
        matrix, out = self.adata.X, []
        for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
            columns = matrix.indices[start:stop]
            out.append(columns[np.argsort(-matrix.data[start:stop] / self.medians[columns])])
        return out

    def fuller(self) -> list[np.ndarray]:
        """Scale each row to 10,000, divide by medians, rank, cut: the recipe as it is usually written."""
        out = []
        for row in range(self.adata.n_obs):
            cell = self.adata.X[row]
            scaled = cell.data / cell.data.sum() * 10_000 / self.medians[cell.indices]
            out.append(cell.indices[np.argsort(-scaled)][: self.max_len])
        return out

    def note(self, line: Line) -> str:
        """Return the number of cells and genes."""
        a_cell = self.adata.X.nnz / self.adata.n_obs
        return f"{self.units:,} cells × {self.adata.n_vars:,} genes, {a_cell:.0f} a cell"
