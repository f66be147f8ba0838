"""A clock as a model folder: written, opened, and applied to new cells."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scflyformer import _log
from scflyformer.clock._run import ALL, ARMS, Arm, GroupClock
from scflyformer.clock._tables import prediction_table, predictions, result_rows
from scflyformer.clock._units import Cells, block_means, deal
from scflyformer.data import _adata
from scflyformer.data._ages import from_target, read_ages, target_name, to_target
from scflyformer.data._embedding import embedding
from scflyformer.data._tables import text_index
from scflyformer.genes._coverage import spelling_words
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import Vocabulary

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer._running import Running
    from scflyformer.data._reading import Reading
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead

_PREFIX, FILE = "clock.", "clock.json"
_KEYS = (
    "features", "target", "groups", "age_range", "half_width", "aggregate", "pseudocell_size", "level", "genes",
    "model_sha256",
)  # fmt: skip
_TENSORS = ("mean", "scale", "weight", "bias")
MIN_SHARED = 0.5
"""Least share of an expression clock's genes that new cells must have."""


def save_clock(
    path: str | os.PathLike[str],
    model: Model,
    clocks: Sequence[GroupClock],
    results: pd.DataFrame,
    about: dict[str, Any],
) -> None:
    """Write a model folder with ``clock.json`` and the clocks of all groups, one row of each tensor a group."""
    from scflyformer.models._heads import save_head

    heads: list[Any] = [clock.head for clock in clocks]
    tensors = {
        "mean": np.stack([head.mean for head in heads]),
        "scale": np.stack([head.scale for head in heads]),
        "weight": np.concatenate([head.weight for head in heads]),
        "bias": np.concatenate([head.bias for head in heads]),
    }
    features = about["features"]
    own = results[results["features"] == features].to_dict(orient="records")
    content = about | {
        "genes": [str(gene) for gene in about["genes"]] if "expression" in ARMS[features] else [],
        "pooling": model.pooling,
        "groups": [clock.group for clock in clocks],
        "age_range": [list(clock.ages) for clock in clocks],
        "half_width": [clock.half_width for clock in clocks],
        "results": results.to_dict(orient="records"),
    }
    row = own[0]
    text = (
        f"# Clock on {model.name}\n\nPredicts `{about['age_key']}` from {features}, learnt from {row['n_cells']:,} "
        f"cells of {clocks[0].ages[0]:g} to {clocks[0].ages[1]:g}; {len(clocks) - 1} group(s) have a clock of their "
        f"own. Held out by {row['split']}: R² {row['r2']:.3f} on {row['target']}, mean absolute error "
        f"{row['mae']:.2f}. Use it with `scflyformer.tl.age_clock(adata, clock=…)`. The model that it reads:"
    )
    metrics = {one["group"]: one for one in own}
    save_head(path, model, file=FILE, prefix=_PREFIX, content=content, tensors=tensors, metrics=metrics, about=text)


def read_clock(path: str | os.PathLike[str]) -> tuple[Model, dict[str, Any], dict[str, np.ndarray]]:
    """Return the model, the content of ``clock.json`` and the tensors of a clock's folder, checked to fit."""
    from scflyformer.models._heads import load_head

    model, content, tensors = load_head(path, file=FILE, prefix=_PREFIX, keys=_KEYS, names=_TENSORS, what="clock")
    _check(model, content, tensors)
    return model, content, tensors


def apply_clock(
    data: AnnData,
    clock: str | os.PathLike[str],
    *,
    groups: np.ndarray | None,
    samples: np.ndarray | None,
    age_key: str,
    use_rep: str,
    reading: Reading,
    running: Running,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, Any], Model]:
    """Predict ages by a saved clock.

    Parameters
    ----------
    data
        The cells.
    clock
        The folder.
    groups
        Group of each cell: a cell takes its group's clock where there is one, else that of all cells.
    samples
        Sample of each cell, for intervals.
    age_key
        Column of `obs` with ages; where it is there, the predictions are scored.
    use_rep
        Where the embedding may lie.
    reading
        What to read.
    running
        How the network runs.
    seed
        Seed of the intervals.

    Returns
    -------
    By ending of the column in `obs`: predicted ages and their intervals, NaN for cells without counts in the clock's
    genes, and whether they lie outside the ages learnt; what goes to `uns`, the clock's settings as its
    ``params``; the model.
    """
    model, content, tensors = read_clock(clock)
    blocks: list[Any] = []
    heads = [_Rows(tensors, number) for number in range(len(content["groups"]))]
    for block in ARMS[content["features"]]:
        if block == "embedding":
            known = content["model_sha256"]
            blocks.append(embedding(data, model, reading, running, use_rep=use_rep, sha256=known, tool="age_clock"))
        else:
            values, keep = aligned(data, content["genes"], reading)
            blocks.append(values)
            ahead = sum(part.shape[1] for part in blocks[:-1])
            for head in heads:
                head.restrict(np.concatenate([np.arange(ahead), ahead + keep]))
    number = np.zeros(data.n_obs, dtype=np.int64)
    if groups is not None:
        saved = _adata.as_text(pd.Series(content["groups"][1:], dtype=object))  # 0.1.0 wrote numbers as "3.0"
        place = {name: at for at, name in enumerate(saved, start=1)}
        number = np.array([place.get(name, 0) for name in groups])
        absent = sorted({str(name) for name in groups} - set(place) - {"None"})
        if absent:
            _log.info(f"age_clock: no clock of their own, hence that of all cells: {', '.join(absent[:10])}")
    bare = np.zeros(data.n_obs, dtype=bool)
    for part in blocks:
        bare |= np.asarray(abs(part).sum(axis=1)).ravel() == 0
    names = _adata.cell_names(data, layer=reading.layer)
    keys = [number, np.full(data.n_obs, "") if samples is None else samples]
    if age_key in data.obs:
        keys.append(_adata.obs_text(data, age_key, what="age_key"))
    bundles = np.full(data.n_obs, -1)
    bundles[~bare] = deal(
        names[~bare], [key[~bare] for key in keys], content["aggregate"], size=content["pseudocell_size"], seed=seed
    )
    columns = {end: np.full(data.n_obs, np.nan) for end in ("", "_low", "_high")}
    columns["_outside"] = np.zeros(data.n_obs, dtype=bool)
    for at in np.unique(number[~bare]):
        rows = np.flatnonzero((number == at) & ~bare)
        own = np.unique(bundles[rows], return_inverse=True)[1]
        parts = [block_means(name, part[rows], own) if content["aggregate"] != "none" else part[rows]
                 for name, part in zip(ARMS[content["features"]], blocks, strict=True)]  # fmt: skip
        on_target = heads[at].head()(_joined(parts))[:, 0]
        reach = content["half_width"][at]
        for end, values in {"": on_target, "_low": on_target - reach, "_high": on_target + reach}.items():
            columns[end][rows] = from_target(values, content["target"])[own]
        low, high = content["age_range"][at]
        columns["_outside"][rows] = (columns[""][rows] < low) | (columns[""][rows] > high)
    n_outside = int(columns["_outside"].sum())
    if n_outside:
        _log.warning(
            f"age_clock: {n_outside} of {int((~bare).sum())} cells are predicted outside the ages that the clock "
            "has learnt; they are not clipped, and marked in obs."
        )
    uns: dict[str, Any] = {"n_outside": {content["features"]: n_outside}}
    uns["params"] = {name: content[name] for name in ("features", "target", "aggregate", "pseudocell_size", "level")}
    if age_key in data.obs:
        try:
            uns |= _scored(data, names, columns, content, groups, samples, age_key, seed)
        except ValueError as error:
            _log.warning(f"age_clock: the predictions are not scored: {error}")
    return columns, uns, model


def _joined(parts: list[Any]) -> Any:
    """Return feature matrices side by side."""
    if len(parts) == 1:
        return parts[0]
    return np.hstack([part.toarray() if sparse.issparse(part) else np.asarray(part) for part in parts])


class _Rows:
    """One group's clock, cut to the features at hand: a gene that is not measured counts as average."""

    def __init__(self, tensors: dict[str, np.ndarray], number: int) -> None:
        self.parts = [tensors["mean"][number], tensors["scale"][number], tensors["weight"][number]]
        self.bias = tensors["bias"][number : number + 1]

    def restrict(self, keep: np.ndarray) -> None:
        self.parts = [part[keep] for part in self.parts]

    def head(self) -> LinearHead:
        from scflyformer.stats._linear import LinearHead

        return LinearHead(self.parts[0], self.parts[1], self.parts[2][None], self.bias)


def aligned(data: AnnData, genes: list[str], reading: Reading) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return expression in those of the clock's genes that the cells have, and which they are."""
    values, names = _adata.expression(data, reading, log_prefix="")
    place = {str(name): at for at, name in enumerate(names)}
    known = np.array(genes, dtype=str)
    blank, n_genes = np.full(len(known), ""), len(known)
    found = resolve_genes(names, Vocabulary(known, blank, np.ones(n_genes), np.zeros(n_genes, np.int64), blank))
    for at, gene in enumerate(found.index.tolist()):
        if gene >= 0:
            place.setdefault(genes[gene], at)
    if said := spelling_words(found, gene_key=reading.gene_key):
        _log.warning(f"age_clock: {said}")
    keep = np.array([at for at, gene in enumerate(genes) if gene in place], dtype=np.int64)
    if len(keep) < MIN_SHARED * len(genes):
        shown = ", ".join([gene for gene in genes if gene not in place][:5])
        raise ValueError(
            f"Only {len(keep)} of the clock's {len(genes)} genes are among the names given (not: {shown}); expected "
            f"at least {MIN_SHARED:.0%}. Name genes as the clock does, by gene_key= where a column of var holds such "
            f"names."
        )
    if len(keep) < len(genes):
        _log.warning(
            f"age_clock: {len(genes) - len(keep)} of the clock's {len(genes)} genes are not measured; taken as average."
        )
    return values[:, [place[genes[at]] for at in keep]], keep


def _check(model: Model, content: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    from scflyformer.models import ModelFolderError

    n, known = len(content["groups"]), content["features"] in ARMS and content["target"] in ("log", "linear")
    width = -1
    if known:
        sizes = {"embedding": model.embedding_size, "expression": len(content["genes"])}
        width = sum(sizes.get(block, -1) for block in ARMS[content["features"]])
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


def _scored(
    data: AnnData,
    names: np.ndarray,
    columns: dict[str, np.ndarray],
    content: dict[str, Any],
    groups: np.ndarray | None,
    samples: np.ndarray | None,
    age_key: str,
    seed: int,
) -> dict[str, Any]:
    """Return results and predictions of cells whose age is known."""
    from scflyformer.stats._reports import number_scores

    target, features = content["target"], content["features"]
    ages = read_ages(data, age_key, target=target)
    known = np.isfinite(ages) & np.isfinite(columns[""])
    every = Cells(names, ages, samples, {})
    rows, tables = [], []
    for group in [ALL, *sorted(set([] if groups is None else groups[known]) - {None})]:
        some = np.flatnonzero(known if group == ALL else known & (groups == group))
        if len(some) < 2:
            continue
        cells, found = every.take(some), {end: values[some] for end, values in columns.items()}
        scores = number_scores(
            cells.ages, found[""], cells.units, target_truth=to_target(cells.ages, target),
            target_predicted=to_target(found[""], target), seed=seed,
        )  # fmt: skip
        arms = {features: Arm(found[""], found["_low"], found["_high"], scores, split="external")}
        clock = GroupClock(group, some, np.arange(len(some)), cells, arms, {features: found["_outside"]})
        rows.append(result_rows(clock, features, target_name(target, age_key)))
        tables.append(prediction_table(clock))
    if not rows:
        return {}
    return {"results": text_index(pd.concat(rows)), "predictions": text_index(predictions(tables))}
