"""Loss curves of a pretraining."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ._figure import COLOURS, GREY, drop_spines, finish, open_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scflyformer.models import Model

TABLE = "training.tsv"
#: Column, words in the legend, colour and whether it is a part of the loss.
CURVES = (
    ("loss", "training", COLOURS[0], False),
    ("mlm", "masked genes", COLOURS[5], True),
    ("profile", "expression profile", COLOURS[3], True),
    ("val_loss", "held out", COLOURS[4], False),
)


def training(
    model: str | os.PathLike[str] | Model,
    *,
    x: Literal["tokens", "step"] = "tokens",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | Figure | None:
    """Draw the loss curves of a model's pretraining.

    The training loss, its parts (masked genes, expression profile) and the loss on held-out cells are read from
    `training.tsv` in the model's folder. A pretraining that is still running can be drawn too.

    Parameters
    ----------
    model
        Name or folder of a model, the path of a `training.tsv`, or a loaded model.
    x
        Horizontal axis: tokens seen, or optimiser steps.
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
    FileNotFoundError
        When the folder holds no `training.tsv`, as where it was trained elsewhere.
    ValueError
        When the table lacks the column of the horizontal axis or any loss, or holds no row.
    """
    path = _table_path(model)
    table = _read(path, x)
    axis = open_axes(ax, size=(6, 4))
    for column, words, colour, part in CURVES:
        if column not in table:
            continue
        curve = table[[x, column]].dropna()
        if curve.empty:
            continue
        marker = "o" if column == "val_loss" else None
        width = 1.0 if part else 1.8
        style = "--" if part else "-"
        axis.plot(
            curve[x], curve[column], style, label=words, color=colour, linewidth=width, marker=marker, markersize=4
        )
    axis.set_xlabel({"tokens": "gene tokens seen", "step": "optimiser step"}[x])
    axis.set_ylabel("loss (nats)")
    axis.grid(axis="y", color=GREY, alpha=0.25)
    drop_spines(axis)
    axis.legend(frameon=False)
    axis.set_title(path.parent.name, fontsize="medium")
    return finish(axis, ax=ax, show=show, return_fig=return_fig)


def _table_path(model: str | os.PathLike[str] | Model) -> Path:
    """Find the table of a model, a folder, or a file named outright."""
    from scflyformer.models._locate import locate

    if isinstance(model, str | os.PathLike):
        path = Path(model) if Path(model).is_file() else locate(model).path / TABLE
    else:
        path = model.path / TABLE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} holds no {TABLE}, so there is no loss curve to draw. It is written by tl.pretrain; name a "
            "folder that it wrote."
        )
    return path


def _read(path: Path, x: str) -> pd.DataFrame:
    """Read the table; losses that are not numbers count as missing."""
    if x not in ("tokens", "step"):
        raise ValueError(f"x is {x!r}; expected 'tokens' or 'step'.")
    table = pd.read_csv(path, sep="\t", comment="#")
    losses = [column for column, *_ in CURVES if column in table]
    if x not in table or not losses:
        raise ValueError(
            f"{path} has the columns {list(table)}; expected {x!r} and at least one of {[name for name, *_ in CURVES]}."
        )
    table = table[[x, *losses]].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if table[losses].dropna(how="all").empty:
        raise ValueError(f"{path} holds no losses yet.")
    return table.sort_values(x)
