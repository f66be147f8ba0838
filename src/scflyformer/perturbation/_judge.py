"""What the effects of a group's gene sets are worth: beside null genes, and beside permuted states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.perturbation._p_values import compare_with_nulls
from scflyformer.perturbation._permutation_test import (
    permutation_p_values,
    permuted_shifts,
    scan_false_discoveries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scflyformer.perturbation._effects import SetEffects

LINEAR, TRANSFORMER = "net_shift_linear", "net_shift_transformer"
"""The net shift of the profile code alone, and what the transformer adds to it."""
SCAN, BOTH, NULL = "permuted samples", "null genes and permuted samples", "null genes"
DESCRIPTIVE, NONE = "descriptive", "none"
"""What `fdr` comes from: of a scan, of named genes with enough samples, else; nothing where cells are of one sample;
nothing where there are no null genes either."""


@dataclass(frozen=True, eq=False)
class GroupEdits:
    """What the edits of one group's gene sets did, those of tested and null sets.

    Attributes
    ----------
    effects
        What was read off, by set.
    tested
        Positions of the tested sets among these.
    nulls
        Positions of the null sets of each tested set.
    size
        How far each set moves cells, float64, shape (n_sets,).
    dots, linear
        Mean change of the dot product with each unit of the states' samples, over the cells of each sample, float64,
        shape (n_sets, n_samples, n_units): in all, and of the profile code alone (`None` where it is not told apart).
    """

    effects: SetEffects
    tested: np.ndarray
    nulls: Sequence[np.ndarray]
    size: np.ndarray
    dots: np.ndarray
    linear: np.ndarray | None


def judge(edits: GroupEdits, columns: Sequence[str], weights: np.ndarray | None, *, scan: bool) -> list[pd.DataFrame]:
    """Return, for each readout, a row per tested set with all that its results say of it but for names.

    Null sets stand beside a set as if they moved cells as far as it does: their shifts are multiplied by the ratio of
    the displacements.

    ``columns`` names the readouts; ``weights`` are those of :meth:`StateSamples.weights`, `None` without permutations.
    `fdr` is given for a ``scan`` of all genes with permutations; else it is left to be made of all rows' p-values.
    """
    return [_of_readout(edits, place, name, weights, scan) for place, name in enumerate(columns)]


def _of_readout(edits: GroupEdits, column: int, name: str, weights: np.ndarray | None, scan: bool) -> pd.DataFrame:
    effects, tested = edits.effects, edits.tested
    shift, half = effects.shift[:, column], effects.half_width()[:, column]
    n_samples = effects.n_samples[tested, column]
    size = np.maximum(edits.size, np.finfo(np.float64).tiny)
    beside = [
        compare_with_nulls(shift[place], shift[null] * (size[place] / size[null]))
        for place, null in zip(tested, edits.nulls, strict=True)
    ]
    table = pd.DataFrame(
        {
            "n_cells": effects.n_cells[tested, column],
            "n_samples": n_samples,
            "shift": shift[tested],
            "ci_low": (shift - half)[tested],
            "ci_high": (shift + half)[tested],
            **{key: [row[key] for row in beside] for key in ("null_mean", "effect", "p_value", "n_null")},
            "p_states": np.nan,
            "fdr": np.nan,
        }
    )
    single = n_samples == 1
    table.loc[single, "p_value"] = np.nan
    table["test"] = np.where(single, DESCRIPTIVE, np.where(table["p_value"].isna(), NONE, NULL)).astype(object)
    permuted = None if weights is None else _permuted(edits, name, weights)
    if permuted is not None:
        permuted = permuted[:, tested]
        table["p_states"] = np.where(single, np.nan, permutation_p_values(permuted))
        known = table["p_states"].notna()
        if scan:
            table["fdr"] = np.where(known, scan_false_discoveries(permuted), np.nan)
            table.loc[known, "test"] = SCAN
        else:
            table.loc[known & table["p_value"].notna(), "test"] = BOTH
    return table


def _permuted(edits: GroupEdits, readout: str, weights: np.ndarray) -> np.ndarray | None:
    """Return shifts in truth and under permutations, (1 + n_permutations, n_sets); `None` for other readouts."""
    towards = weights[0] if readout == "shift" else weights[0] - weights[1]
    if readout in ("shift", "net_shift"):
        return permuted_shifts(edits.dots, towards)
    if edits.linear is None or readout not in (LINEAR, TRANSFORMER):
        return None
    return permuted_shifts(edits.linear if readout == LINEAR else edits.dots - edits.linear, towards)


def share_linear(results: pd.DataFrame) -> float:
    """Return the linear part's share of the net shifts: of absolute values, those of both parts; NaN without parts."""
    size: dict[str, Any] = results.groupby("readout")["shift"].apply(lambda shifts: shifts.abs().sum()).to_dict()
    both = size.get(LINEAR, np.nan) + size.get(TRANSFORMER, np.nan)
    return float(size[LINEAR] / both) if both > 0 else float("nan")
