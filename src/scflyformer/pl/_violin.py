"""A violin that also draws what has no spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def violin(ax: Axes, values: np.ndarray, position: float, *, colour: str, width: float = 0.8) -> None:
    """Draw the density of ``values`` at ``position``; a bar where they are all alike, nothing where there are none.

    The density is cut at the smallest and the largest value.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return
    if np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())) or len(values) < 3:
        ends = position - width / 4, position + width / 4
        ax.hlines(np.unique(values), *ends, color=colour, linewidth=2)
        return
    for body in ax.violinplot(values, positions=[position], widths=width, showextrema=False)["bodies"]:  # type: ignore[attr-defined]
        body.set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.8)
