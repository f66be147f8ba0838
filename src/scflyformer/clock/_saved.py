"""A clock as a model folder: one object, written and opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scflyformer.clock._conformal import HalfWidth
from scflyformer.clock._fit import ALL, FEATURE_SETS
from scflyformer.data import _adata
from scflyformer.data._ages import from_target
from scflyformer.stats._linear import LinearHead
from scflyformer.stats._novelty import ClassDistance, NearCells

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scflyformer.clock._fit import GroupClock
    from scflyformer.clock._request import ClockRequest
    from scflyformer.clock._units import Aggregate
    from scflyformer.data._ages import Target
    from scflyformer.data._training_cells import UsedCells
    from scflyformer.models import Model

_PREFIX, FILE = "clock.", "clock.json"
NEAR = ("near_whiten", "near_centres", "near_limit")
"""Tensors of a clock that knows which cells it may be asked about."""
_KEYS = (
    "features", "target", "groups", "age_range", "half_width", "aggregate", "pseudocell_size", "level", "genes",
    "model_sha256",
)  # fmt: skip
_TENSORS = ("mean", "scale", "weight", "bias")


@dataclass(frozen=True, eq=False)
class SavedClock:
    """Linear clocks of all cells and of groups, with what they read and predict.

    Attributes
    ----------
    model
        The model whose embedding they read; of an opened folder, the one in it.
    heads
        One for each group, from the joined features to the target; ``groups`` their names, that of all cells first.
    age_ranges
        Lowest and highest age that each has learnt from.
    intervals
        Half the width of each one's prediction interval by the prediction, on the scale of the target.
    features, target
        Feature set that is read, and the scale that is predicted.
    genes
        Names of the genes whose expression is read, in the order of the heads' last features.
    aggregate, pseudocell_size, level
        What ages are predicted for, and the share of cells that an interval is to hold.
    age_key, groupby
        Columns that it was fitted on; `None` where it is not known.
    fitted_on, fitted_on_sha256
        Name and hash of the model that it was fitted on.
    near
        Of clocks that ship: tells the cells that the clock may be asked about, from their contrast columns.
    held_out
        What it was worth in held-out samples, in words.
    """

    model: Model
    heads: list[LinearHead]
    groups: list[str]
    age_ranges: list[tuple[float, float]]
    intervals: list[HalfWidth]
    features: str
    target: Target
    genes: list[str]
    aggregate: Aggregate
    pseudocell_size: int
    level: float
    age_key: str | None
    groupby: str | None
    fitted_on: str
    fitted_on_sha256: str
    near: NearCells | None = None
    held_out: str = ""

    @classmethod
    def of(cls, clocks: Sequence[GroupClock], model: Model, request: ClockRequest, genes: Iterable[str]) -> SavedClock:
        """Return clocks that were fitted on all cells, that of all groups together first."""
        return cls(
            model=model,
            heads=[clock.head for clock in clocks],  # type: ignore[misc]
            groups=[clock.group for clock in clocks],
            age_ranges=[clock.ages for clock in clocks],
            intervals=[clock.interval for clock in clocks],
            genes=[str(gene) for gene in genes] if "expression" in FEATURE_SETS[request.features] else [],
            fitted_on=model.name,
            fitted_on_sha256=model.sha256,
            **{name: getattr(request, name) for name in _ASKED},
        )

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the features that are joined: ``"embedding"``, ``"expression"`` or both."""
        return FEATURE_SETS[self.features]

    def numbers(self, groups: np.ndarray) -> np.ndarray:
        """Return the clock of each cell: that of its group where there is one, else 0, that of all cells."""
        names = _adata.as_text(pd.Series(self.groups[1:], dtype=object))  # 0.1.0 wrote numbers as "3.0"
        place = {name: at for at, name in enumerate(names, start=1)}
        return np.array([place.get(name, 0) for name in groups], dtype=np.int64)

    def to_age(self, on_target: np.ndarray) -> np.ndarray:
        """Return ages from values of the target."""
        return from_target(on_target, self.target)

    def save(self, path: str | os.PathLike[str], results: pd.DataFrame, learnt_from: UsedCells) -> None:
        """Write a model folder with ``clock.json``, the heads, one row of each tensor a group, and a list of cells."""
        from scflyformer.models._save import save_head

        rows = results[results["features"] == self.features].to_dict(orient="records")
        row, (youngest, oldest) = rows[0], self.age_ranges[0]
        about = (
            f"# Clock on {self.model.name}\n\nPredicts `{self.age_key}` from {self.features}, learnt from "
            f"{row['n_cells']:,} cells of {youngest:g} to {oldest:g}; {len(self.heads) - 1} group(s) have a clock of "
            f"their own. Held out by {row['split']}: R² {row['r2']:.3f} on {row['target']}, mean absolute error "
            f"{row['mae']:.2f}. Use it with `scflyformer.tl.age_clock(adata, clock=…)`. The model that it reads:"
        )
        content = {name: getattr(self, name) for name in (*_PLAIN, "age_key", "groupby")} | {
            "pooling": self.model.pooling,
            "age_range": [list(ages) for ages in self.age_ranges],
            "half_width": [{"at": width.at, "half": width.half} for width in self.intervals],
            "results": results.to_dict(orient="records"),
        }
        heads = [head.tensors() for head in self.heads]
        tensors = {name: np.stack([head[name] for head in heads]) for name in ("mean", "scale")}
        tensors |= {name: np.concatenate([head[name] for head in heads]) for name in ("weight", "bias")}
        metrics = {each["group"]: each for each in rows}
        name, vocabulary = str(self.age_key), self.model.vocabulary
        save_head(
            path,
            self.model,
            file=FILE,
            prefix=_PREFIX,
            content=content,
            tensors=tensors,
            metrics=metrics,
            about=about,
            cells=lambda manifest: learnt_from.as_set(manifest, vocabulary, name=name, use="ages"),
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SavedClock:
        """Open a folder that `save` wrote.

        Raises
        ------
        ModelFolderError
            When the folder holds no clock, or a damaged one.
        """
        from scflyformer.models._save import load_head

        model, content, tensors = load_head(path, file=FILE, prefix=_PREFIX, keys=_KEYS, names=_TENSORS, what="clock")
        _check_folder(model, content, tensors)
        heads = [
            LinearHead(tensors["mean"][at], tensors["scale"][at], tensors["weight"][at : at + 1],
                       tensors["bias"][at : at + 1])
            for at in range(len(content["groups"]))
        ]  # fmt: skip
        return cls(
            model=model,
            heads=heads,
            age_ranges=[(low, high) for low, high in content["age_range"]],
            intervals=[_width(each) for each in content["half_width"]],
            age_key=content.get("age_key"),
            groupby=content.get("groupby"),
            fitted_on=content.get("model", model.name),
            fitted_on_sha256=content["model_sha256"],
            near=_near(tensors),
            held_out=_held_out(content),
            **{name: content[name] for name in _PLAIN},
        )


def _width(saved: Any) -> HalfWidth:
    """Return what was saved; of clocks saved before widths followed the prediction a single number."""
    known = saved if isinstance(saved, dict) else {"at": [0.0], "half": [saved]}
    return HalfWidth(*(np.array(known[name], dtype=float) for name in ("at", "half")))  # null becomes NaN


def _near(tensors: dict[str, np.ndarray]) -> NearCells | None:
    if not set(NEAR) <= set(tensors):
        return None
    whiten, centres, limit = (tensors[name] for name in NEAR)
    return NearCells(ClassDistance(whiten, centres), float(limit[0]))


def _held_out(content: dict[str, Any]) -> str:
    """Return a sentence of the scores that were saved with a clock, or an empty text."""
    rows = [row for row in content.get("results", []) if row.get("features") == content["features"]]
    if not rows or "r2" not in rows[0]:
        return ""
    row, (low, high) = rows[0], content["age_range"][0]
    return (
        f"learnt from {row['n_cells']:,} cells of ages {low:g} to {high:g}; held out by {row['split']}, R² is "
        f"{row['r2']:.2f} on {row['target']}, the mean absolute error {row['mae']:.1f} in the unit of age"
    )


_ASKED = ("features", "target", "aggregate", "pseudocell_size", "level", "age_key", "groupby")
"""Attributes that a request names alike."""
_PLAIN = ("groups", "features", "target", "genes", "aggregate", "pseudocell_size", "level")
"""Attributes that ``clock.json`` holds under their name."""


def _check_folder(model: Model, content: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    from scflyformer.models import ModelFolderError

    n, known = len(content["groups"]), content["features"] in FEATURE_SETS and content["target"] in ("log", "linear")
    width = -1
    if known:
        sizes = {"embedding": model.embedding_size, "expression": len(content["genes"])}
        width = sum(sizes.get(block, -1) for block in FEATURE_SETS[content["features"]])
    shapes = {"mean": (n, width), "scale": (n, width), "weight": (n, width), "bias": (n,)}
    wrong = [name for name, shape in shapes.items() if tensors[name].shape != shape]
    counts = {len(content[name]) for name in ("age_range", "half_width")}
    if len(set(content["genes"])) < len(content["genes"]):
        raise ModelFolderError(
            f"{model.path}: {FILE} names genes more than once, so that its weights cannot be told apart. It was saved "
            "by a version that read such names wrongly; fit the clock again."
        )
    if not known or wrong or counts != {n} or content["groups"][:1] != [ALL]:
        raise ModelFolderError(
            f"{model.path}: {FILE} ({n} groups, features {content['features']!r}, target {content['target']!r}) and "
            f"the clock's tensors ({', '.join(wrong) or 'all'}) do not fit. Copy the folder again, whole."
        )
