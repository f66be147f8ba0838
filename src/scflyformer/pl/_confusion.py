"""Heatmap of true against predicted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import squareform

from scflyformer.data._adata import as_text, labels_of, obs_column, open_data
from scflyformer.data._labels import UNKNOWN
from scflyformer.data._stored import annotated_column

from ._figure import finish, open_axes

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData


#: More rows or columns than this and the boxes carry no numbers.
MAX_NUMBERED = 20


def confusion(
    adata: AnnData | MuData,
    *,
    truth: str,
    key: str = "annotation",
    normalize: Literal["truth", "prediction", "none"] = "truth",
    order: Literal["similar", "categories"] = "similar",
    mod: str | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw true labels (rows) against predicted ones (columns) as a heatmap.

    Rows and columns follow the same order; after them come labels that are only predicted, and last `Unknown`, the
    cells on which :func:`scflyformer.tl.annotate` abstained. Cells without a true or predicted label are left out;
    words such as "unannotated" are no true label, as in :func:`scflyformer.tl.annotate`. The title gives the share of
    cells predicted right (an abstention is not right) and of cells that got a label at all.

    Parameters
    ----------
    adata
        Annotated cells.
    truth
        Column of `obs` with the true labels.
    key
        Column of `obs` with the predictions; `"annotation_best"` shows the labels before abstaining.
    normalize
        `"truth"`: a row is the share of a true label's cells and sums to 1; `"prediction"`: a column sums to 1;
        `"none"`: numbers of cells.
    order
        `"similar"`: labels that are confused are next to each other, and labels that never are keep the order of
        the truth's categories; `"categories"`: all keep that order.
    mod
        Modality of a MuData.
    ax
        Axis to draw on; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis; the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    KeyError
        When a column is missing; lists near names.
    ValueError
        When no cell has both labels, `truth` is `key`, or `normalize` or `order` is none of its options.

    Examples
    --------
    >>> import scflyformer as sf
    >>> adata = sf.datasets.fly_brain_simulated(200)
    >>> sf.tl.annotate(
    ...     adata,
    ...     label_key="cell_type",
    ...     sample_key="batch",
    ...     model="fly-tiny",
    ...     baselines="none",
    ... )
    >>> axis = sf.pl.confusion(adata, truth="cell_type", show=False)
    >>> axis.get_xticklabels()[-1].get_text()
    'Unknown'

    The labels before abstaining, to a file:

    >>> figure = sf.pl.confusion(
    ...     adata, truth="cell_type", key="annotation_best", return_fig=True
    ... )
    >>> figure.savefig("confusion.pdf", bbox_inches="tight")
    """
    if normalize not in ("truth", "prediction", "none"):
        raise ValueError(f"normalize is {normalize!r}; expected 'truth', 'prediction' or 'none'.")
    if order not in ("similar", "categories"):
        raise ValueError(f"order is {order!r}; expected 'similar' or 'categories'.")
    if truth == key:
        raise ValueError(f"truth and key are both {key!r}: a column agrees with itself. Name the true labels' column.")
    data = open_data(adata, mod=mod)
    true, predicted = obs_column(data, truth, what="truth"), annotated_column(data, key)
    counts = confusion_counts(true, predicted)
    if not counts.to_numpy().sum():
        raise ValueError(f"No cell has both a true label (obs[{truth!r}]) and a prediction (obs[{key!r}]).")
    if order == "similar":
        counts = by_similarity(counts)
    return _draw(counts, normalize, truth, key, ax=ax, show=show, return_fig=return_fig)


def confusion_counts(true: pd.Series, predicted: pd.Series) -> pd.DataFrame:
    """Count cells by true label (rows) and predicted label (columns), shared labels in the same order."""
    true_labels, predicted_labels = labels_of(true), as_text(predicted)
    known = np.array([None not in pair for pair in zip(true_labels, predicted_labels, strict=True)], dtype=bool)
    true_labels, predicted_labels = true_labels[known], predicted_labels[known]
    in_truth, in_prediction = set(true_labels), set(predicted_labels)
    categories = true.cat.categories if isinstance(true.dtype, pd.CategoricalDtype) else sorted(in_truth)
    rows = [label for label in as_text(pd.Series(categories)) if label in in_truth]
    rows = list(dict.fromkeys(rows))
    extra = sorted(in_prediction - set(rows) - {UNKNOWN})
    columns = [*rows, *extra] + [UNKNOWN] * (UNKNOWN in in_prediction)
    counts = pd.crosstab(true_labels, predicted_labels)
    return counts.reindex(index=rows, columns=columns, fill_value=0)


def by_similarity(counts: pd.DataFrame) -> pd.DataFrame:
    """Move labels that are taken for one another together; the rest keep their order, `Unknown` stands last.

    Two labels are as near as the mean of the shares of their cells that got the other label. Labels that are linked by
    such cells, if only through others, form a block; the leaves of its average-linkage tree are laid out so that
    neighbours are as near as the tree allows. Blocks stand where their first label stood and begin with the end that
    stood first. Labels that are only predicted follow the order of the true labels that went to them most.
    """
    labels = list(counts.index)
    shares = pd.DataFrame(_normalized(counts.to_numpy(dtype=float), "truth"), counts.index, counts.columns)
    square = shares.loc[labels, labels].to_numpy()
    near = (square + square.T) / 2
    np.fill_diagonal(near, 0)
    block = connected_components(near > 0, directed=False)[1] if labels else np.zeros(0)
    places = [place for first in dict.fromkeys(block) for place in _leaves(near, np.flatnonzero(block == first))]
    last = [UNKNOWN] if UNKNOWN in counts.columns else []
    rows = [labels[place] for place in places]
    extra = [label for label in counts.columns if label not in counts.index and label != UNKNOWN]
    extra.sort(key=lambda label: int(shares.loc[rows, label].to_numpy().argmax()) if rows else 0)
    return counts.reindex(index=rows, columns=rows + extra + last)


def _leaves(near: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Order one block; with one or two labels there is nothing to order."""
    if len(members) < 3:
        return members
    apart = squareform(1 - near[np.ix_(members, members)], checks=False)
    leaves = members[leaves_list(linkage(apart, method="average", optimal_ordering=True))]
    return leaves if leaves[0] < leaves[-1] else leaves[::-1]


def _draw(
    counts: pd.DataFrame,
    normalize: str,
    truth: str,
    key: str,
    *,
    ax: Axes | None,
    show: bool | None,
    return_fig: bool,
) -> Axes | Figure | None:
    n_rows, n_columns = counts.shape
    values = _normalized(counts.to_numpy(dtype=float), normalize)
    numbered = max(values.shape) <= MAX_NUMBERED
    width, height = (0.48, 0.42) if numbered else (0.26, 0.24)
    axis = open_axes(ax, size=(2.8 + width * n_columns, 1.9 + height * n_rows))
    image = axis.imshow(values, cmap="Blues", vmin=0, vmax=None if normalize == "none" else 1, aspect="auto")
    axis.set_xticks(range(n_columns), counts.columns, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(n_rows), [f"{label} ({n})" for label, n in counts.sum(axis=1).items()])
    axis.set_xlabel(f"predicted label ({key})")
    axis.set_ylabel(f"true label ({truth}; cells in brackets)")
    axis.tick_params(labelsize="medium" if numbered else "x-small")
    if numbered:
        _write_values(axis, values, counted=normalize == "none")
    if UNKNOWN in counts.columns:
        axis.axvline(n_columns - 1.5, color="white", linewidth=4)
    right = sum(counts.loc[label, label] for label in counts.index if label in counts.columns)
    total = int(counts.to_numpy().sum())
    labelled = total - (int(counts[UNKNOWN].sum()) if UNKNOWN in counts.columns else 0)
    axis.set_title(f"{right / total:.1%} right, {labelled / total:.1%} labelled, {total:,} cells", fontsize="medium")
    words = {"truth": "share of true label", "prediction": "share of predicted label", "none": "cells"}
    axis.figure.colorbar(image, ax=axis, label=words[normalize], shrink=0.8)
    return finish(axis, ax=ax, show=show, return_fig=return_fig)


def _normalized(counts: np.ndarray, normalize: str) -> np.ndarray:
    """Divide by row or column sums; an empty row or column stays 0."""
    if normalize == "none":
        return counts
    total = counts.sum(axis=1 if normalize == "truth" else 0, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)


def _write_values(axis: Axes, values: np.ndarray, *, counted: bool) -> None:
    """Write each box's value, white on dark; boxes that round to nothing stay empty."""
    top = values.max() if counted else 1.0
    for (row, column), value in np.ndenumerate(values):
        if value >= (0.5 if counted else 0.005):
            text = f"{value:.0f}" if counted else f"{value:.2f}".removeprefix("0")
            colour = "white" if value > 0.55 * top else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
