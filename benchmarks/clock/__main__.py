"""How well can age be told? Feature sets × types, in libraries and strains that the clock has not seen, and by cell.

``python -m benchmarks.clock --work DIR --out clock`` puts the arms of `tl.age_clock` beside one another on 22,219 cells
of davie: libraries held out (five deals of the folds, scores averaged), all types together and each type with 200 cells
or more; w1118 → DGRP-551 and back; pseudocells; days instead of log days; and, to show what it does, cells of the same
libraries on both sides and the published recipe. ``--null`` deals the ages anew to the libraries, so that there is
nothing to learn but libraries. ``--time`` times one report of all types, as a user would make it.

``--file AFCA.h5ad --age-key age --group-key afca_annotation_broad --sample-key SAMPLE`` does the same, without the
strains, for the Aging Fly Cell Atlas or any other file. What is computed is kept in ``--work``.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import scanpy as sc

import scflyformer as sf
from scflyformer.clock._conformal import coverage
from scflyformer.clock._fit import ALL, ARTICLE, FEATURE_SETS, MEAN, ONE_SCALE, ClockOptions, fit_clock
from scflyformer.clock._ridge import _apply, nested_ridge
from scflyformer.clock._units import Cells
from scflyformer.data import _features
from scflyformer.data._ages import from_target, to_target
from scflyformer.data._reading import Reading

from ..lib.command import new_parser
from ..lib.data import Data, Fit
from ..lib.report import report
from ..lib.representations import Frozen, random_weights
from ..lib.resamples import Libraries
from ..lib.results import described, kept, result_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = 3
"""Counts up when a kept result is no longer what the code would compute."""
MAIN = "embedding+expression"
"""The column that the others are subtracted from."""
MIN_CELLS, MIN_SIDE = 200, 50
"""Cells of a type, in all and on either side of a strain's split."""
STRAINS = (("w1118", "DGRP-551"), ("DGRP-551", "w1118"))
YOUNG = 30
"""Days up to which both strains have libraries."""
DAVIE = Path("fly", "davie_brain_aging.h5ad")
N_REPEATS = 5
COLUMNS = (MAIN, "embedding", "expression", "random", "depth", MEAN, ARTICLE)


@dataclass(frozen=True, eq=False)
class Flies:
    """Cells with ages, their types and strains, and the number that changes when a result would."""

    cells: Cells
    groups: np.ndarray
    strains: np.ndarray | None
    key: str

    def types(self) -> list[str]:
        """Return the types with enough cells."""
        names, sizes = np.unique(self.groups, return_counts=True)
        return [str(name) for name, size in zip(names, sizes, strict=True) if size >= MIN_CELLS and name]

    def arms(self) -> tuple[str, ...]:
        """Return the feature sets whose blocks are there."""
        return tuple(
            name for name in COLUMNS if name in FEATURE_SETS and set(FEATURE_SETS[name]) <= set(self.cells.blocks)
        )

    def inside(self, group: str) -> np.ndarray:
        """Return the positions of a type's cells, or of all."""
        return np.arange(len(self.groups)) if group == ALL else np.flatnonzero(self.groups == group)


def read(args: argparse.Namespace) -> Flies:
    """Return the cells of a file with every block of features, the embeddings computed once."""
    data = Data(args.file or args.data / DAVIE, lambda obs: np.flatnonzero(obs[args.age_key].notna()))
    models = [Frozen(args.work, args.model, dtype=args.dtype)]
    if not args.without_random:
        models.append(random_weights(args.work, models[0].model, dtype=args.dtype))
    everything = Fit("all", np.ones(len(data.adata), dtype=bool))
    blocks = dict(
        zip(("embedding", "random"), (each.blocks(data, everything)["embedding"] for each in models), strict=False)
    )
    some = data.adata[data.used]
    blocks["expression"] = _features.expression_features(some, Reading(gene_key=args.gene_key))[0]
    blocks["depth"] = _features.depth(some, layer=None)
    ages = data.obs[args.age_key].astype(float).to_numpy()
    cells = Cells(data.obs.index.to_numpy(), ages, data.obs[args.sample_key].to_numpy(dtype=str), blocks)
    strains = None if args.file else data.obs["genotype"].to_numpy(dtype=str)
    groups = data.obs[args.group_key].astype(object).fillna("").to_numpy(dtype=str)
    return Flies(cells, groups, strains, f"{data.key}-{models[0].key}")


def view(
    cells: Cells, libraries: np.ndarray, predicted: np.ndarray, *, n_train: int, note: str, target: Any = "log",
) -> dict[str, Any]:  # fmt: skip
    """Return scores of predicted ages as a report takes them."""
    known = np.isfinite(predicted)
    y, p = to_target(cells.ages[known], target), to_target(predicted[known], target)
    draws = Libraries(libraries[known])
    metrics = {"R²": draws.r2(y, p)}
    if np.ptp(p) > 0 and len(np.unique(p)) > 20:
        metrics["Spearman"] = draws.spearman(y, p)
    metrics["MAE"] = draws.mean(np.abs(cells.ages[known] - predicted[known]))
    there = np.append(True, np.isin(np.unique(libraries), libraries[known]))
    for name, values in metrics.items():  # a small library may have no cell that the published recipe tests
        metrics[name] = np.full(len(there), np.nan)
        metrics[name][there] = values
    return described(metrics, draws, libraries[known], n_train, note)


def held_out(
    flies: Flies, group: str, options: ClockOptions, *, by_cell: bool, repeats: int | None = None
) -> dict[str, Any]:
    """Return a view of each feature set, averaged over deals of the folds."""
    inside = flies.inside(group)
    cells = flies.cells.take(inside)
    libraries = cells.samples
    assert libraries is not None
    used = replace(cells, samples=None) if by_cell else cells
    found: dict[str, list[dict[str, Any]]] = {}
    intervals: dict[str, Any] = {}
    for seed in range(repeats or N_REPEATS):
        clock = fit_clock(used, inside, group, replace(options, seed=seed))
        units = clock.units
        where = libraries if options.aggregate == "none" else np.asarray(units.samples)
        for name, arm in clock.results.items():
            if len(arm.predicted) != len(units.ages):
                continue
            note = "cells of all libraries on both sides" if by_cell or name == ARTICLE else "libraries held out"
            one = view(units, where, arm.predicted, n_train=len(units.ages), note=note, target=options.target)
            found.setdefault(name, []).append(one)
            if seed == 0 and np.isfinite(arm.low).all():
                share, least = coverage((arm.low <= units.ages) & (units.ages <= arm.high), where)
                width = float(np.median(arm.high - arm.low))
                intervals[name] = {"coverage": share, "coverage_lowest": least, "width": width}
    return {name: averaged(views) | intervals.get(name, {}) for name, views in found.items()}


def averaged(views: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over repeats, library by library (where tested), and the range of R² over them."""
    metrics = {}
    for name in (name for name in views[0]["metrics"] if all(name in each["metrics"] for each in views)):
        values = np.array([each["metrics"][name] for each in views])
        tested = ~np.isnan(values).all(axis=0)
        metrics[name] = np.nanmean(values[:, tested], axis=0).round(6).tolist()
    values = [each["metrics"]["R²"][0] for each in views]
    return views[0] | {"metrics": metrics, "repeats": len(views), "r2_least": min(values), "r2_most": max(values)}


def strain(flies: Flies, group: str, train: str, test: str) -> dict[str, dict[str, Any]]:
    """Return, by set of test ages, a view of each feature set that learnt from one strain alone."""
    assert flies.strains is not None
    inside = flies.inside(group)
    own, new = (flies.cells.take(inside[flies.strains[inside] == name]) for name in (train, test))
    if min(len(own.ages), len(new.ages)) < MIN_SIDE:
        return {}
    y = to_target(own.ages, "log")
    folds = _features.folds(own.names, own.samples, values=own.ages, n_splits=5, seed=0)
    arms = {name: FEATURE_SETS[name] for name in flies.arms()}
    fitted = nested_ridge(own.blocks, y, folds, arms, final=list(arms), together=ONE_SCALE, samples=own.samples)
    out: dict[str, dict[str, Any]] = {}
    young = new.ages <= YOUNG
    rows = {"to 30 days": young, "with 50 days": np.ones_like(young)} if not young.all() else {"": young}
    for words, mask in rows.items():
        some = new.take(np.flatnonzero(mask))
        assert some.samples is not None
        say = partial(view, some, some.samples, n_train=len(y), note=f"{train} → {test}")
        for name, result in fitted.items():
            assert result.head is not None
            parts = [some.blocks[block] for block in arms[name]]
            predicted = from_target(_apply(result.head, parts, np.arange(len(some.ages))), "log")
            out.setdefault(words, {})[name] = say(np.maximum(predicted, -0.999))
        out[words][MEAN] = say(np.full(len(some.ages), from_target(y.mean(), "log")))
    return out


def tasks(flies: Flies) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield (name, what computes {row: {column: view}})."""
    groups = [ALL, *flies.types()]
    plain = ClockOptions(flies.arms(), article=True)
    few = replace(plain, article=False, feature_sets=tuple(name for name in plain.feature_sets if name != "random"))

    def libraries(group: str) -> dict[str, Any]:
        found = held_out(flies, group, plain, by_cell=False)
        return {f"libraries, {group}": found, f"published recipe, {group}": {ARTICLE: found.pop(ARTICLE)}}

    def across(train: str, test: str, group: str) -> dict[str, Any]:
        found = strain(flies, group, train, test)
        return {", ".join(filter(None, [f"{train} → {test}", group, words])): each for words, each in found.items()}

    def other(name: str, options: ClockOptions) -> dict[str, Any]:
        return {name: held_out(flies, ALL, options, by_cell=name.startswith("by cell"))}

    for group in groups:
        yield f"libraries, {group}", partial(libraries, group)
    for train, test in STRAINS if flies.strains is not None else ():
        for group in groups:
            yield f"{train} → {test}, {group}", partial(across, train, test, group)
    for name, options in (
        ("libraries, all, pseudocells", replace(few, aggregate="pseudocell")),
        ("libraries, all, days", replace(few, target="linear")),
        ("by cell, all", few),
    ):
        yield name, partial(other, name, options)


def null(flies: Flies) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield the same for ages that are dealt anew to the libraries: nothing but the library can tell them."""
    samples = flies.cells.samples
    assert samples is not None
    _, first, place = np.unique(samples, return_index=True, return_inverse=True)
    options = ClockOptions(("embedding", "expression", MAIN))

    def make(draw: int, row: str, by_cell: bool) -> dict[str, Any]:
        dealt = np.random.default_rng(draw).permutation(flies.cells.ages[first])[place]
        other = replace(flies, cells=replace(flies.cells, ages=dealt))
        return {row: held_out(other, ALL, options, by_cell=by_cell, repeats=1)}

    for draw, (words, by_cell) in product(range(N_REPEATS), (("libraries", False), ("by cell", True))):
        row = f"ages dealt anew {draw + 1}, {words}"
        yield row, partial(make, draw, row, by_cell)


def summary(results: list[tuple[str, str, dict[str, Any]]]) -> str:
    """Return in how many types the main column has a higher value than expression, and where it has not."""
    scores = {(row, column): each["metrics"] for row, column, each in results}
    lines = []
    for start in ("libraries, ", *(f"{train} → {test}, " for train, test in STRAINS)):
        rows = [
            row
            for row, column in scores
            if column == MAIN and row.startswith(start) and not row.startswith(f"{start}all") and "50 days" not in row
        ]
        for metric in ("R²", "Spearman"):
            gains = {
                row.removeprefix(start): scores[row, MAIN][metric][0] - scores[row, "expression"][metric][0]
                for row in rows
                if metric in scores[row, MAIN] and metric in scores[row, "expression"]
            }
            if not gains:
                continue
            others = sorted((gain, name) for name, gain in gains.items() if gain <= 0)
            line = (
                f"- {start}{metric}: {MAIN} higher than expression in {len(gains) - len(others)} of {len(gains)} types"
            )
            lines.append(line + "".join(f"; {name} {gain:+.3f}" for gain, name in others))
    return "\n".join(lines)


def timed(args: argparse.Namespace) -> None:
    """Print how long a full report by type takes, the embedding being there, and what the unit does to the recipe."""
    path = args.file or args.data / DAVIE
    adata = ad.read_h5ad(path)
    data = Data(path, lambda obs: np.arange(len(obs)))
    adata.obsm["X_own"] = Frozen(args.work, args.model, dtype=args.dtype).blocks(
        data, Fit("all", np.ones(len(adata), bool))
    )["embedding"]
    adata.obs[args.age_key] = adata.obs[args.age_key].astype(float)
    begin, cpu = time.perf_counter(), time.process_time()
    sf.tl.age_clock(
        adata, age_key=args.age_key, groupby=args.group_key, sample_key=args.sample_key, gene_key=args.gene_key,
        use_rep="X_own",
    )  # fmt: skip
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    n = adata.uns["age_clock"]["results"]["group"].nunique()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("cells\tclocks\tseconds\tcpu_seconds\tpeak_mb")
    print(f"{adata.n_obs}\t{n}\t{wall:.0f}\t{cpu:.0f}\t{peak:.0f}")
    print("the published recipe, features multiplied by a scale\tR²")
    for row in adata.uns["age_clock"]["scale_trap"].itertuples():
        print(f"{row.group}, {row.scale:g}\t{row.r2:.3f}")


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = new_parser(__doc__)
    parser.add_argument("--file", type=Path, help="another h5ad file, such as the Aging Fly Cell Atlas")
    parser.add_argument("--age-key", default="age")
    parser.add_argument("--group-key", default="cell_type")
    parser.add_argument("--sample-key", default="batch")
    parser.add_argument("--gene-key", default="FBgn", help="column of var with gene names; '' for var_names")
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="number type of the network (default: %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=[""], help="names of tasks, or words in them (default: all)")
    parser.add_argument("--without-random", action="store_true", help="leave the untrained network out")
    parser.add_argument("--null", action="store_true", help="deal the ages anew to the libraries instead")
    parser.add_argument("--time", action="store_true", help="time one report by type instead")
    parser.add_argument("--work", type=Path, default=Path("clock-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    args = parser.parse_args()
    args.gene_key = args.gene_key or None
    sc.settings.verbosity = 0
    if args.time:
        timed(args)
        return
    flies = read(args)
    key = sha256(f"{flies.key}{VERSION}{args.without_random}{N_REPEATS}".encode()).hexdigest()[:10]
    results: list[tuple[str, str, dict[str, Any]]] = []
    for name, make in (null if args.null else tasks)(flies):
        if name not in args.tasks and not any(word in name for word in args.tasks):
            continue
        found = kept(result_file(args.work, f"clock {name}", MAIN, key), lambda make=make: {"rows": make()}, name)
        results += [(row, column, each) for row, views in found["rows"].items() for column, each in views.items()]
    title = "Ages dealt anew to the libraries" if args.null else "Age in libraries, strains and cells"
    report(results, MAIN, title, args.out, columns="features", cells="cells", more=summary(results))


if __name__ == "__main__":
    main()
