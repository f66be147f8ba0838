"""What the cells of an object were read as, and what to warn of: mixed scales, and values that are no counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scflyformer import _log
from scflyformer.data._chunks import CellScales, where
from scflyformer.data._matrix import raw_chunks
from scflyformer.stats._linear import column_moments
from scflyformer.tokens._scale import LINEAR_SCALES, LOG1P, NO_EVIDENCE, SCALES

if TYPE_CHECKING:
    from anndata import AnnData

NOTABLE = 0.1
"""Share of cells without whole counts above which a warning is due."""
_ODD = {5: "square roots", 6: "log1p of log1p values"}
_WORDS = {0: "counts or normalised values", 1: "log1p values", 3: "log2(x + 1) values", 4: "log10(x + 1) values"} | _ODD
_REMEDY = "Pass layer= with counts or their log1p; where only adata.raw has them, use adata.raw.to_adata()."
_SAMPLE = 2000
"""Cells that tell whether genes were scaled."""
_MANY = 30
"""Genes of a cell from which a single value for all is no chance."""
_COMMON = 0.05
"""Share of cells that a gene is expressed in to take part in that."""


def summary(scales: CellScales) -> dict[str, Any]:
    """Return the scale found (``"mixed"`` for several), the cells of each, and the share of cells with whole counts."""
    codes, counts = np.unique(scales.scale[scales.scale != NO_EVIDENCE], return_counts=True)
    kinds = set(_family(codes).tolist())
    scale = "counts" if not len(codes) else "mixed" if len(kinds) > 1 else SCALES[int(codes[-1])]
    return {
        "scale": scale,
        "n_cells_by_scale": {SCALES[code]: int(n) for code, n in zip(codes.tolist(), counts.tolist(), strict=True)},
        "share_cells_whole_counts": round(float(scales.rebuilt.mean()), 6),
    }


def warn(prefix: str, adata: AnnData, scales: CellScales, *, layer: str | None, genes: np.ndarray) -> None:
    """Log what `warnings_of` has to say, after a prefix such as ``"reference: "``."""
    for message in warnings_of(adata, scales, layer=layer, genes=genes):
        _log.warning(prefix + message)


def warnings_of(adata: AnnData, scales: CellScales, *, layer: str | None, genes: np.ndarray) -> list[str]:
    """Return what to warn of; ``genes`` are the positions of the columns that were read."""
    judged = np.flatnonzero(scales.scale != NO_EVIDENCE)
    place, kind = where(layer), _family(scales.scale[judged])
    not_whole = ~scales.rebuilt[judged]
    if (len(judged) < NOTABLE * len(scales.scale)) and _single_values(adata, layer, genes):
        return [
            f"{place} holds a single value in most cells, as if it was binarised: the order of genes within a cell is "
            f"lost and results mean little. {_REMEDY}"
        ]
    if not len(judged):
        return []
    if not_whole.mean() > NOTABLE and looks_scaled(adata, layer, genes):
        return [
            f"{place} looks scaled: nearly all genes have a standard deviation of 1, so the order of genes within a "
            f"cell is lost and results mean little. {_REMEDY}"
        ]
    messages = []
    kinds, n_cells = np.unique(kind, return_counts=True)
    if len(kinds) > 1:
        order = np.argsort(-n_cells, kind="stable")
        *most, least = (f"{n_cells[at]} hold {_WORDS[int(kinds[at])]}" for at in order)
        few = judged[np.flatnonzero(kind == kinds[order[-1]])[:3]]
        names = ", ".join(repr(str(name)) for name in adata.obs_names[few])
        messages.append(
            f"The cells of {place} are on different scales: {', '.join(most)}, and {least} (among them {names}). Each "
            "cell was read on its own scale. If all should be alike, pass layer= with counts."
        )
    for number, words in _ODD.items():
        if (share := float((kind == number).mean())) > NOTABLE:
            messages.append(f"{place} holds {words} in {share:.0%} of the cells; they were undone. {_REMEDY}")
    guessed = not_whole & (scales.scale[judged] == LOG1P)
    if (share := float(guessed.mean())) > NOTABLE:
        messages.append(
            f"{place} was read as log1p values, but in {share:.0%} of the cells undoing log1p gave no whole counts. "
            "This is fine for log1p of corrected counts or TPM. For other values (another logarithm, denoised, imputed "
            f"or batch-corrected ones) the order of genes may be wrong. {_REMEDY}"
        )
    return messages


def _family(codes: np.ndarray) -> np.ndarray:
    """Return the numbers of scales with one number for all that are proportional to counts."""
    return np.where(np.isin(codes, LINEAR_SCALES), 0, codes)


def looks_scaled(adata: AnnData, layer: str | None, genes: np.ndarray) -> bool:
    """Whether the genes of the first cells all vary by about 1, as `scanpy.pp.scale` leaves them."""
    cells = _first_cells(adata, layer, genes)
    n_cells = cells.shape[0]
    common = np.diff(cells.tocsc().indptr) >= max(_COMMON * n_cells, 5)
    if common.sum() < 10:
        return False
    low, middle, high = np.quantile(column_moments(cells)[1][common], [0.25, 0.5, 0.75])
    return bool(0.8 < middle < 1.25 and high < 1.25 * low)  # log values of panels: 1.4 to 2 between the quartiles


def _single_values(adata: AnnData, layer: str | None, genes: np.ndarray) -> bool:
    """Whether most of the first cells have many genes, though each holds one value only."""
    return bool(np.median(np.diff(_first_cells(adata, layer, genes).indptr)) >= _MANY)


def _first_cells(adata: AnnData, layer: str | None, genes: np.ndarray) -> sparse.csr_matrix:
    parts, n_cells = [], 0
    for rows in raw_chunks(adata, layer):
        parts.append(sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=(rows.n_rows, adata.n_vars)))
        n_cells += rows.n_rows
        if n_cells >= _SAMPLE:
            break
    return sparse.vstack(parts, format="csr")[:, genes]
