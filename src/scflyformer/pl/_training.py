"""Loss curves of a pretraining."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ._figure import COLOURS, GREY, as_names, drop_spines, finish, open_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scflyformer.models import Model

TABLE = "training.tsv"
LOSSES = {"loss": "loss", "mlm": "masked genes (nats per gene)", "profile": "expression profile (KL, nats)"}
"""Losses in the table and what they are called; the held-out value stands under ``val_`` + name."""


def training(
    model: str | os.PathLike[str] | Model,
    *,
    losses: str | Sequence[str] | None = None,
    x: Literal["step", "epoch", "tokens"] = "step",
    ax: Axes | None = None,
    show: bool | None = None,
    return_fig: bool = False,
) -> Axes | np.ndarray | Figure | None:
    """Draw the loss curves of a model's pretraining, a panel for each loss: training cells and held-out cells.

    They are read from `training.tsv` in the model's folder. The panel of masked genes shows what guessing each gene by
    its frequency reaches on the held-out cells (`unigram` in `metrics.json`): a model that has learned something lies
    below.

    Parameters
    ----------
    model
        Name or folder of a model, the path of a `training.tsv`, or a loaded model.
    losses
        Losses to draw: `"loss"`, the sum that was minimised, and its parts `"mlm"` and `"profile"`. By default all that
        there are; on an axis of yours, `"loss"`.
    x
        Horizontal axis: optimiser steps, passes over the cells, or tokens seen.
    ax
        Axis to draw on, for one loss; a new figure without.
    show
        Show the figure; by default as `scanpy.settings.autoshow` says, where the figure is ours.
    return_fig
        Return the figure.

    Returns
    -------
    The axis (an array of them for several losses); the figure with `return_fig`; nothing where the figure was shown.

    Raises
    ------
    FileNotFoundError
        When the folder holds no `training.tsv`, as where it was trained elsewhere.
    ValueError
        When the table lacks a column or holds no losses, or one axis was given for several losses.

    Examples
    --------
    >>> import scflyformer as sf
    >>> axes = sf.pl.training("fly-tiny", show=False)
    >>> len(axes)
    3
    """
    path = _table_path(model)
    table = _read(path, x)
    names = _chosen_losses(losses, table, path, ax)
    axes = open_panels(ax, len(names), size=(4.4, 3.4))
    for axis, name in zip(axes, names, strict=True):
        _curve(axis, table, x, name, label="training cells", colour=COLOURS[0], marker=None)
        _curve(axis, table, x, f"val_{name}", label="held-out cells", colour=COLOURS[4], marker="o")
        if name == "mlm" and (unigram := _unigram(path)) is not None:
            axis.axhline(unigram, color=GREY, linestyle="--", linewidth=1, label="gene frequencies")
        axis.set_xlabel(x)
        axis.set_ylabel(LOSSES[name])
        axis.grid(axis="y", color=GREY, alpha=0.25)
        axis.legend(frameon=False, fontsize="small")
        drop_spines(axis)
    axes[0].set_title(path.parent.name, fontsize="medium", loc="left")
    return finish(axes, ax=ax, show=show, return_fig=return_fig)


def _table_path(model: str | os.PathLike[str] | Model) -> Path:
    """Find the table of a model, a folder, or a file named outright."""
    from scflyformer.models._load import locate

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
    if x not in ("step", "epoch", "tokens"):
        raise ValueError(f"x is {x!r}; expected 'step', 'epoch' or 'tokens'.")
    table = pd.read_csv(path, sep="\t", comment="#")
    columns = [name for loss in LOSSES for name in (loss, f"val_{loss}") if name in table]
    if x not in table or not columns:
        raise ValueError(f"{path} has the columns {list(table)}; expected {x!r} and one of {list(LOSSES)}.")
    table = table[[x, *columns]].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    if table[columns].dropna(how="all").empty:
        raise ValueError(f"{path} holds no losses yet.")
    return table.sort_values(x)


def _chosen_losses(asked: str | Sequence[str] | None, table: pd.DataFrame, path: Path, ax: Axes | None) -> list[str]:
    """Return the losses to draw."""
    known = [name for name in LOSSES if table.filter(items=[name, f"val_{name}"]).notna().any(axis=None)]
    if asked is None:
        return known if ax is None else known[:1]
    names = as_names(asked)
    if not names or not set(names) <= set(known):
        raise ValueError(f"losses is {asked!r}; {path} holds {known}.")
    return names


def _curve(
    axis: Axes, table: pd.DataFrame, x: str, column: str, *, label: str, colour: str, marker: str | None
) -> None:
    if column in table and not (points := table[[x, column]].dropna()).empty:
        axis.plot(points[x], points[column], color=colour, label=label, marker=marker, markersize=4, linewidth=1.6)


def _unigram(path: Path) -> float | None:
    """Return the held-out loss of gene frequencies from the folder's metrics, where it tells one."""
    try:
        held_out = json.loads((path.parent / "metrics.json").read_text(encoding="utf-8"))["held_out"]
        return float(held_out["unigram"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
