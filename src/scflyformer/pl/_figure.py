"""What every plot shares: an axis to draw on, colours, and what is handed back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

#: Colour-blind safe colours (Okabe and Ito 2008), in the order of use; the last stands for "nothing special".
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
GREY = "#8C8C8C"
#: Largest share of the height of a caller's axis that is cleared for an explanation of the marks.
_CLEARED = 0.5


def open_axes(ax: Axes | None, *, size: tuple[float, float]) -> Axes:
    """Return the axis to draw on: the caller's, or that of a new figure of `size` inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def open_panels(ax: Axes | None, n_panels: int, *, size: tuple[float, float], n_columns: int = 4) -> np.ndarray:
    """Return an array of `n_panels` axes: the caller's one, or those of a new figure with `size` inches a panel."""
    if ax is not None:
        if n_panels != 1:
            raise ValueError(f"One axis was given for {n_panels} panels. Ask for one panel, or leave ax out.")
        return np.array([ax], dtype=object)
    import matplotlib.pyplot as plt

    columns = min(n_panels, n_columns)
    rows = -(-n_panels // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(size[0] * columns, size[1] * rows), layout="constrained", squeeze=False
    )
    for spare in axes.ravel()[n_panels:]:
        figure.delaxes(spare)
    return axes.ravel()[:n_panels]


def finish(axes: Any, *, ax: Axes | None, show: bool | None, return_fig: bool) -> Any:
    """Hand back what was asked for, by scanpy's custom.

    That is the figure where `return_fig`, nothing where it was shown, else `axes`: an axis, or an array of several.

    Parameters
    ----------
    ax
        The caller's axis; a figure that is the caller's is never shown unless `show` says so.
    show
        Show the figure; `None` follows `scanpy.settings.autoshow` for a figure of our own.
    """
    if isinstance(axes, np.ndarray) and len(axes) == 1:
        axes = axes[0]
    if show is None:
        from scanpy import settings

        show = bool(settings.autoshow) and ax is None and not return_fig
    if show:
        _show()
    if return_fig:
        return np.ravel(np.asarray(axes, dtype=object))[0].figure
    return None if show else axes


def _show() -> None:
    """Show open figures; a backend without a screen has nothing to show and would warn."""
    import matplotlib
    import matplotlib.pyplot as plt

    if matplotlib.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        plt.show()


def explain(axes: np.ndarray, handles: Sequence[Any], *, own: bool) -> Legend | None:
    """Say what the marks mean; return the legend in the caller's panel, for other words to keep off.

    In a figure of ours (``own``) the words stand below the panels, for which it grows. On the caller's axis they stand
    at the top of the panel, which is cleared by raising its upper limit; a panel too low for that goes without, as does
    each further one of a figure with the same words.
    """
    figure = axes[0].get_figure(root=True)
    if figure is None or not handles:
        return None
    style: dict[str, Any] = {"handles": handles, "fontsize": "small", "handletextpad": 0.5, "borderaxespad": 0.2}
    if own:
        style |= {"loc": "outside lower center", "frameon": False, "columnspacing": 1.4, "borderpad": 0.2}
        for columns in range(len(handles), 0, -1):
            legend = figure.legend(ncols=columns, **style)
            box = legend.get_window_extent()
            if box.width <= figure.bbox.width or columns == 1:
                break
            legend.remove()
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(width, box.width / figure.dpi), height + box.height / figure.dpi)
        return None
    words = [handle.get_label() for handle in handles]
    if any(words == _legend_texts(other) for other in figure.axes if other is not axes[0]):
        return None
    axis = axes[0]
    legend = axis.legend(loc="upper left", framealpha=0.85, edgecolor="none", **style | {"fontsize": "x-small"})
    figure.draw_without_rendering()
    share = legend.get_window_extent().height / axis.get_window_extent().height
    if share > _CLEARED:
        legend.remove()
        return None
    scale = axis.yaxis.get_transform()
    low, high = scale.transform(axis.get_ylim())
    axis.set_ylim(top=float(scale.inverted().transform([low + (high - low) / (1 - share)])[0]))
    return legend


def _legend_texts(axis: Axes) -> list[str]:
    legend = axis.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def legend_beside(axis: Axes, *, own: bool, **style: Any) -> None:
    """Put a legend to the right of a panel, for which a figure of ours (``own``) grows, so that the panels keep theirs.

    ``style`` is matplotlib's, and wins over that of the plots here.
    """
    usual = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "fontsize": "small"}
    legend = axis.legend(**usual | style)
    figure = axis.get_figure(root=True)
    if own and figure is not None:
        figure.set_figwidth(figure.get_figwidth() + legend.get_window_extent().width / figure.dpi)


def dot_mark(label: str, colour: Any, *, size: float | None = 4, **style: Any) -> Line2D:
    """Return a dot for a legend, of ``size`` points; of matplotlib's with `None`."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="o", markersize=size, linestyle="", color=colour, label=label, **style)


def label_groups(axis: Axes, labels: Sequence[str], *, flat: bool) -> None:
    """Name what stands at 0, 1, … of the horizontal axis, level or aslant."""
    axis.set_xticks(range(len(labels)), labels, fontsize="small")
    if not flat:
        for text in axis.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")


def inches_of(axis: Axes) -> float:
    """Return how wide an axis is."""
    return axis.get_window_extent().width / axis.figure.dpi


def as_names(asked: str | Sequence[str]) -> list[str]:
    """Return the names asked for, of which a text is one."""
    return [asked] if isinstance(asked, str) else [str(name) for name in asked]


def drop_spines(ax: Axes) -> None:
    """Leave only the left and lower edge of a plot."""
    ax.spines[["top", "right"]].set_visible(False)
