"""Titles of the perturbation plots: what was done to the genes, in which cells, and whether it can be read."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.perturbation._edit import DOSED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Letters of a title that an inch holds.
LETTERS = 12
_DONE = {
    "delete": "deleted",
    "overexpress": "overexpressed",
    "knockdown": "knocked down",
    "activate": "activated",
    "mask": "masked",
}


def panel_title(
    params: Mapping[str, Any], group: str, results: pd.DataFrame, separability: pd.DataFrame | None = None
) -> str:
    """Say what was done in which cells; in a second line where the group is not interpretable, and why.

    The group ``"all"`` is not named; ``separability`` is the run's table of that name, for the AUROC.
    """
    title = f"{_done(params)} in {params['state_key']} {params['start']}"
    title = title if group == "all" else f"{group}: {title}"
    if "interpretable" not in results or results["interpretable"].astype(bool).any():
        return title
    auroc = np.empty(0)
    if separability is not None and {"group", "auroc"} <= set(separability):
        auroc = separability.loc[separability["group"].astype(str) == group, "auroc"].dropna().to_numpy(dtype=float)
    return f"{title}\nnot interpretable" + (f" (AUROC {auroc[0]:.2f})" if len(auroc) else "")


def state_label(params: Mapping[str, Any], state: str) -> str:
    """Name the ``"start"`` or ``"goal"``, with the column where it is a number: ``"age 5"``, ``"mutant"``."""
    label = str(params[state])
    try:
        float(label)
    except ValueError:
        return label
    return f"{params['state_key']} {label}"


def set_title(axis: Axes, title: str, *, inches: float) -> None:
    """Set a title that is broken into lines where it is wider than the panel of that many inches."""
    lines = [textwrap.fill(line, max(12, int(LETTERS * inches))) for line in title.split("\n")]
    axis.set_title("\n".join(lines), fontsize="medium")


def _done(params: Mapping[str, Any]) -> str:
    """Return what was done to the genes, with the dose where there is one."""
    kind = str(params["kind"])
    words = _DONE.get(kind, kind)
    if kind not in DOSED or "dose" not in params:
        return words
    dose = float(params["dose"])
    return f"{words} by half" if dose == 0.5 else f"{words} by {100 * dose:.3g} %"
