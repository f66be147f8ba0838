"""Is pretraining worth it? Representations × tasks on held-out libraries, one table with paired intervals.

``python benchmarks/pretraining.py --models fly fly-tiny --mlm my-mlm --scvi-python scvi-env/bin/python`` compares the
frozen embedding of each model with random weights, PCA, expression and scVI. Every representation and every result is
kept in ``--work``, so that the same command goes on where it was interrupted. The first model is the one that the
others are subtracted from.

``--curve`` pretrains the first model's shape on 10, 30 and 100 % of the cells for the same number of steps, and
``--leave-out-platform`` without nuclei and without whole cells; both take folders that are already trained instead.
"""

from __future__ import annotations

import argparse
import inspect
import json
import platform
import re
import shlex
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _masked import GeneFrequencies, Scores, network_scores
from _representations import Data, Expression, Fit, Frozen, Joined, Pca, Representation, Scvi, random_weights
from _tasks import Resamples, neighbour_agreement, probe_age, probe_labels
from pretrain_fly import EXCLUDE, SETS, VALIDATION, add_data_argument

import scflyformer as sf
from scflyformer import _adata
from scflyformer.stats._splits import sample_folds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

VERSION = 1
"""Counts up when a kept result is no longer what the code would compute."""
TRAIN_CELLS = 15_000
"""Probe cells a set at most, drawn once for all representations."""
MASKED_CELLS = 3_000
"""Held-out cells a set whose genes are hidden."""
NUCLEI = ("fca_head", "fca_body")
BASELINES = ("random", "pca", "expression", "joined", "scvi")
SHARES = (0.1, 0.3, 1.0)


@dataclass(frozen=True, eq=False)
class Split:
    """Cells that a representation may be fitted on, and positions among the used cells of those probed."""

    fit: Fit
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Task:
    """One row group of the table.

    Attributes
    ----------
    kind
        ``"labels"``, ``"age"`` or ``"neighbours"``.
    target
        Class code, or log2(days + 1), of each used cell.
    splits
        Each fitted by itself; their test cells are pooled.
    views
        Name → mask over the pooled test cells: the same predictions, judged on some of them.
    note
        The split in words.
    """

    name: str
    kind: str
    data: Data
    target: np.ndarray
    splits: list[Split]
    views: dict[str, np.ndarray]
    note: str

    @property
    def test(self) -> np.ndarray:
        """Positions of all test cells."""
        return np.concatenate([split.test for split in self.splits])


def run(task: Task, representation: Representation, *, n_boot: int) -> dict[str, Any]:
    """Return the metrics of each view, each as its value followed by its bootstrap draws."""
    found, chosen = [], []
    libraries = task.data.libraries
    probe: Callable[..., Any] = {"labels": probe_labels, "age": probe_age, "neighbours": neighbour_agreement}[task.kind]
    for split in task.splits:
        blocks = representation.blocks(task.data, split.fit)
        result = probe(blocks, task.target, libraries, split.train, split.test)
        predicted, parameter = (result, None) if task.kind == "neighbours" else result
        found.append(predicted)
        chosen.append(parameter)
    predicted, truth = np.concatenate(found), task.target[task.test]
    views = {}
    for view, mask in task.views.items():
        draws = Resamples(libraries[task.test][mask], n_boot=n_boot)
        x, y = truth[mask], predicted[mask]
        if task.kind == "labels":
            metrics = {"accuracy": draws.mean((x == y).astype(float)), "macro-F1": draws.macro_f1(x, y)}
        elif task.kind == "age":
            metrics = {"R²": draws.r2(x, y), "Spearman": draws.spearman(x, y)}
        else:
            metrics = {"same label": draws.mean(y)}
        views[view] = described(metrics, draws, libraries[task.test][mask], int(np.mean(_sizes(task))), task.note)
    return {"views": views, "chosen": chosen}


def _sizes(task: Task) -> list[int]:
    return [len(split.train) for split in task.splits]


def described(
    metrics: dict[str, np.ndarray], draws: Resamples, libraries: np.ndarray, n_train: int, note: str
) -> dict[str, Any]:
    """Return a view's metrics beside what they were measured on, as JSON takes it."""
    return {
        "metrics": {name: np.round(values, 6).tolist() for name, values in metrics.items()},
        "n_train": n_train,
        "n_test": len(libraries),
        "n_libraries": len(np.unique(libraries)),
        "resampled": draws.unit,
        "split": note,
    }


@dataclass(eq=False)
class Bench:
    """The sets, opened when a task first asks for them, and the tasks on them."""

    folder: Path
    seed: int = 0
    _open: dict[str, Data] = field(default_factory=dict)

    def data(self, name: str) -> Data:
        """Return a set; only the last one stays in memory."""
        if name not in self._open:
            self._open.clear()
            self._open[name] = Data(self.folder / "fly" / f"{name}.h5ad", self._used(name))
        return self._open[name]

    def _used(self, name: str) -> Callable[[pd.DataFrame], np.ndarray]:
        def choose(obs: pd.DataFrame) -> np.ndarray:
            if name not in NUCLEI:
                return np.arange(len(obs))
            test = held_out(obs)
            train = np.flatnonzero(~test)
            if len(train) > TRAIN_CELLS:
                train = np.random.default_rng(self.seed).choice(train, TRAIN_CELLS, replace=False)
            return np.sort(np.concatenate([train, np.flatnonzero(test)]))

        return choose

    @cached_property
    def makers(self) -> dict[str, Callable[[], Task]]:
        """Return what makes each task, by name."""
        makers: dict[str, Callable[[], Task]] = {}
        for kind in ("labels", "neighbours"):
            for name in ("fca_head", "fca_body", "davie_brain_aging"):
                short = name.removeprefix("fca_").split("_")[0]
                makers[f"{short} {kind}"] = lambda name=name, kind=kind, short=short: self._labelled(name, kind, short)
        makers["clock libraries"] = self._clock_libraries
        makers["clock w1118 → DGRP-551"] = lambda: self._clock_strain("w1118", "DGRP-551")
        makers["clock DGRP-551 → w1118"] = lambda: self._clock_strain("DGRP-551", "w1118")
        return makers

    def _labelled(self, name: str, kind: str, short: str) -> Task:
        data = self.data(name)
        test = held_out(data.obs)
        labels, known = data.obs["cell_type"].to_numpy(dtype=str), np.ones(len(test), dtype=bool)
        if name == "davie_brain_aging":
            known = named_in_both(labels, test)
        codes = np.zeros(len(labels), dtype=int)
        codes[known] = np.unique(labels[known], return_inverse=True)[1]
        fit = Fit("w1118" if name == "davie_brain_aging" else "train", ~held_out(data.adata.obs))
        split = Split(fit, np.flatnonzero(known & ~test), np.flatnonzero(known & test))
        says = {"fca_head": "FCA4, FCA13 held out", "fca_body": "FCA16, FCA25 held out"}.get(name, "w1118 → DGRP-551")
        if kind == "neighbours":
            says += "; 15 nearest cells of other libraries"
        views = {"": np.ones(len(split.test), dtype=bool)}
        return Task(f"{short} {kind}", kind, data, codes, [split], views, f"{says}, {codes.max() + 1} types")

    def _ages(self) -> tuple[Data, np.ndarray, np.ndarray]:
        data = self.data("davie_brain_aging")
        days = data.obs["age"].to_numpy(dtype=float)
        return data, days, np.log2(days + 1)

    def _clock_libraries(self) -> Task:
        data, _, target = self._ages()
        folds = sample_folds(data.libraries, values=target, n_splits=3)
        splits = [
            Split(Fit(f"fold{fold}", folds != fold), np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
            for fold in range(3)
        ]
        test = np.concatenate([split.test for split in splits])
        dgrp = (data.obs["genotype"] == "DGRP-551").to_numpy()[test]
        views = {"all": np.ones(len(test), dtype=bool), "DGRP-551 alone": dgrp}
        return Task("clock libraries", "age", data, target, splits, views, "3 folds, each with one library an age")

    def _clock_strain(self, train: str, test: str) -> Task:
        data, days, target = self._ages()
        strain = data.obs["genotype"].to_numpy(dtype=str)
        split = Split(Fit(train, strain == train), np.flatnonzero(strain == train), np.flatnonzero(strain == test))
        young = days[split.test] <= 30
        every = np.ones(len(young), dtype=bool)
        views = {"all": every} if young.all() else {"to 30 days": young, "with 50 days": every}
        return Task(f"clock {train} → {test}", "age", data, target, [split], views, f"{train} → {test}")


def held_out(obs: pd.DataFrame) -> np.ndarray:
    """Return which cells no pretraining may see."""
    return np.any([obs[key].isin(values) for key, values in EXCLUDE.items() if key in obs], axis=0)


def named_in_both(labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the cells whose label is not a bare number and occurs on both sides."""
    named = np.array([not re.fullmatch(r"\d+", label) for label in labels])
    shared = np.intersect1d(labels[named & test], labels[named & ~test])
    return named & np.isin(labels, shared)


def masked_genes(
    folder: Path, frozen: Sequence[Frozen], work: Path, *, n_boot: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (set, column, result): cross-entropy and first guesses on hidden genes of held-out libraries.

    All columns get the same cells and masks where their models share vocabulary and medians; cells are cut at the
    shortest length among the models.
    """
    longest = min(column.model.max_len for column in frozen)
    vocabularies: dict[str, Frozen] = {}
    for column in frozen:
        vocabularies.setdefault(_vocabulary_key(column), column)
    for word, first in vocabularies.items():
        same = [column for column in frozen if _vocabulary_key(column) == word]
        tag = "" if len(vocabularies) == 1 else f" ({first.name}'s vocabulary)"
        wanted = [(name, column) for name in SETS for column in same]
        files = {
            (name, column.name): result_file(work, f"masked {name}", column.name, f"{column.key}-{longest}-{n_boot}")
            for name, column in wanted
        }
        counted = {name: result_file(work, f"masked {name}", "counting", f"{word}-{longest}-{n_boot}") for name in SETS}
        if not all(file.exists() for file in [*files.values(), *counted.values()]):
            rows, held, libraries, panels = _ranked(folder, first, longest)
            if not all(file.exists() for file in counted.values()):
                table = GeneFrequencies([rows[name] for name in SETS], first.model.vocabulary.n_genes, longest)
                for source, name in enumerate(SETS):
                    scores = table.scores(held[name], source, panels[name])
                    save(
                        counted[name],
                        {key: _masked_view(each, libraries[name], n_boot) for key, each in scores.items()},
                    )
            for (name, column), file in zip(wanted, files.values(), strict=True):
                if not file.exists():
                    scores = network_scores(column.model.network(), held[name], panels[name])
                    save(file, _masked_view(scores, libraries[name], n_boot))
        for name in SETS:
            for baseline, view in json.loads(counted[name].read_text()).items():
                yield name, baseline + tag, view
            for column in same:
                yield name, column.name, json.loads(files[name, column.name].read_text())


def _vocabulary_key(column: Frozen) -> str:
    from hashlib import sha256

    known = column.model.vocabulary
    return sha256("|".join(known.gene_ids).encode() + known.medians.tobytes()).hexdigest()[:8]


def _ranked(folder: Path, column: Frozen, longest: int) -> tuple[dict, dict, dict, dict]:
    """Return ranked training cells of each set, up to 3,000 held-out cells, their libraries, and the genes measured."""
    train, held, libraries, panels = {}, {}, {}, {}
    for name in SETS:
        adata = ad.read_h5ad(folder / "fly" / f"{name}.h5ad")
        rows, _ = _adata.token_rows(adata, column.model, gene_key="FBgn", max_len=longest, progress=False)
        test = held_out(adata.obs)
        cells = np.flatnonzero(test & (rows.lengths > 0))
        if len(cells) > MASKED_CELLS:
            cells = np.sort(np.random.default_rng(0).choice(cells, MASKED_CELLS, replace=False))
        train[name], held[name] = rows.take(np.flatnonzero(~test)), rows.take(cells)
        libraries[name] = adata.obs["batch"].to_numpy(dtype=str)[cells]
        index = _adata.match_genes(adata, column.model.vocabulary, gene_key="FBgn").index
        panels[name] = np.isin(np.arange(column.model.vocabulary.n_genes), index)
    return train, held, libraries, panels


def _masked_view(scores: Scores, libraries: np.ndarray, n_boot: int) -> dict[str, Any]:
    draws = Resamples(libraries, n_boot=n_boot)
    n = np.maximum(scores.n, 1)
    metrics = {"nats a gene": draws.mean(scores.nats / n, scores.n), "top-1": draws.mean(scores.hits / n, scores.n)}
    return described(
        metrics, draws, libraries, 0, "15 % of genes hidden, answers among the genes measured, held-out libraries"
    )


def result_file(work: Path, task: str, column: str, key: str) -> Path:
    """Return where a result is kept."""
    name = re.sub(r"[^\w.+-]+", "_", f"{task}--{column}--{key}-v{VERSION}")
    return work / "results" / f"{name}.json"


def save(file: Path, content: Any) -> None:
    """Write JSON, all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(file)


def long_table(results: Sequence[tuple[str, str, dict[str, Any]]], main: str) -> pd.DataFrame:
    """Return one row a (task, metric, representation) with intervals, and what ``main`` has over it, paired.

    Parameters
    ----------
    results
        (row, representation, view), where a view is what `described` returns.
    main
        The representation that the others are subtracted from.
    """
    draws = {
        (row, metric, column): np.asarray(values, dtype=float)
        for row, column, view in results
        for metric, values in view["metrics"].items()
    }
    records = []
    for row, column, view in results:
        for metric in view["metrics"]:
            mine, best = draws[row, metric, column], draws.get((row, metric, main))
            record = {"task": row, "metric": metric, "representation": column, "value": mine[0]}
            record["low"], record["high"] = np.nanquantile(mine[1:], [0.025, 0.975])
            if best is not None and column != main:
                gap = best - mine
                record["difference"] = gap[0]
                record["difference_low"], record["difference_high"] = np.nanquantile(gap[1:], [0.025, 0.975])
            records.append(record | {key: value for key, value in view.items() if key != "metrics"})
    return pd.DataFrame(records)


def verdicts(table: pd.DataFrame, main: str) -> list[str]:
    """Return one sentence a (task, metric): what ``main`` is below, what it cannot be told from, what it is above."""
    lines = []
    compared = table[table["difference"].notna()] if "difference" in table else table[:0]
    for (task, metric), rows in compared.groupby(["task", "metric"], sort=False):
        sign = -1 if metric.startswith("nats") else 1
        sides: dict[str, list[str]] = {"below": [], "not told from": [], "above": []}
        for row in rows.itertuples():
            low, high = sorted((sign * row.difference_low, sign * row.difference_high))
            side = "above" if low > 0 else "below" if high < 0 else "not told from"
            by = (
                f"{row.representation} ({row.difference:+.3f}, {row.difference_low:+.3f} to {row.difference_high:+.3f})"
            )
            sides[side].append(by)
        what = "better than" if sign < 0 else "above"
        worse = "worse than" if sign < 0 else "below"
        words = {"below": worse.upper(), "not told from": "not told from", "above": what}
        told = "; ".join(f"{words[side]} {', '.join(found)}" for side, found in sides.items() if found)
        lines.append(f"{task}, {metric}: {main} is {told}")
    return lines


def markdown(table: pd.DataFrame, main: str) -> str:
    """Return values in one wide table, and what ``main`` has over the others in a second."""
    columns = list(dict.fromkeys(table["representation"]))

    def wide(text: Callable[[Any], str], names: list[str]) -> list[str]:
        lines = ["| task | metric | test | " + " | ".join(names) + " |", "| --- " * (3 + len(names)) + "|"]
        for (task, metric), rows in table.groupby(["task", "metric"], sort=False):
            by_name = {row.representation: row for row in rows.itertuples()}
            row = rows.iloc[0]
            where = f"{row['n_test']:,} cells, {row['n_libraries']} libraries"
            cells = [text(by_name[name]) if name in by_name else "–" for name in names]
            lines.append(f"| {task} | {metric} | {where} | " + " | ".join(cells) + " |")
        return lines

    lines = wide(lambda row: f"{row.value:.3f}", columns)
    others = [name for name in columns if name != main]
    if others and "difference" in table:
        lines += ["", f"{main} less each of the others, with a paired 95 % interval:", ""]
        lines += wide(
            lambda row: (
                "–"
                if np.isnan(row.difference)
                else f"{row.difference:+.3f} ({row.difference_low:+.3f} to {row.difference_high:+.3f})"
            ),
            others,
        )
    splits = table.drop_duplicates(["task"])[["task", "split", "n_train", "resampled"]]
    lines += ["", "| task | split | probe cells | resampled |", "| --- " * 4 + "|"]
    lines += [f"| {row.task} | {row.split} | {row.n_train:,} | {row.resampled} |" for row in splits.itertuples()]
    return "\n".join(lines)


def compare(
    bench: Bench, columns: Sequence[Representation], tasks: Sequence[str], work: Path, *, n_boot: int
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return every (row, column, view), computed or read; each is kept as soon as it is there."""
    results = []
    for name in tasks:
        if name == "masked genes":
            frozen = [column for column in columns if isinstance(column, Frozen)]
            found = masked_genes(bench.folder, frozen, work, n_boot=n_boot) if frozen else []
            results += [(f"masked genes, {source}", column, view) for source, column, view in found]
            continue
        task = bench.makers[name]()
        for column in columns:
            file = result_file(work, name, column.name, f"{column.key}-{task.data.key}-{n_boot}")
            if not file.exists():
                begin = time.perf_counter()
                result = run(task, column, n_boot=n_boot) | {"seconds": round(time.perf_counter() - begin, 1)}
                result["sees"] = column.sees
                save(file, result)
                print(f"[{name}: {column.name}, {result['seconds']:.0f} s]", file=sys.stderr, flush=True)
            views = json.loads(file.read_text())["views"]
            results += [(f"{name}, {view}" if view else name, column.name, each) for view, each in views.items()]
    return results


def subset(data: Path, work: Path, sets: Sequence[str], share: float, seed: int = 0) -> list[Path]:
    """Write the pretraining cells of some sets, of each training library a random share, into a folder of files.

    Cells are drawn whole. Libraries that pretraining holds out for its loss stay complete, the evaluation libraries are
    left out.
    """
    folder = work / "subsets" / f"{share:g}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in sets:
        path = folder / f"{name}.h5ad"
        if not path.exists():
            adata = ad.read_h5ad(data / "fly" / f"{name}.h5ad")
            drawn = np.random.default_rng(seed).random(adata.n_obs) < share
            keep = ~held_out(adata.obs) & (drawn | adata.obs["batch"].isin(VALIDATION).to_numpy())
            adata[keep].copy().write_h5ad(path.with_suffix(".partial"))
            path.with_suffix(".partial").replace(path)
        paths.append(path)
    return paths


def n_tokens(paths: Sequence[Path]) -> int:
    """Return the expressed genes, over all cells, of some files, less the libraries held out for the loss."""
    total = 0
    for path in paths:
        adata = ad.read_h5ad(path)
        total += adata.X[~adata.obs["batch"].isin(VALIDATION).to_numpy()].nnz
    return total


def pretrain_alike(data: Path, work: Path, out: Path, like: dict[str, Any], *, sets: Sequence[str], share: float,
                   epochs: float) -> Path:  # fmt: skip
    """Pretrain on some of the cells with the options of ``like``, for as many steps as ``epochs`` passes over all take.

    Parameters
    ----------
    like
        ``provenance["options"]`` of a model.
    """
    if (out / "model.safetensors").exists():
        return out
    paths = subset(data, work, sets, share)
    passes = epochs * n_tokens(subset(data, work, SETS, 1.0)) / n_tokens(paths)
    known = inspect.signature(sf.tl.pretrain).parameters
    options = {key: value for key, value in like.items() if key in known} | {"epochs": passes, "dtype": "auto"}
    if "code_epochs" in options:
        options["code_epochs"] = max(round(options["code_epochs"] * passes / epochs), 1)
    there = pd.concat([ad.read_h5ad(path, backed="r").obs["batch"].astype(str) for path in paths]).unique()
    sf.tl.pretrain(
        paths,
        out=out,
        sample_key="batch",
        validation=[name for name in VALIDATION if name in there],
        gene_key="FBgn",
        weights="float16",
        **options,
    )
    return out


def trained(args: argparse.Namespace, main: Frozen, kind: str, given: Sequence[str]) -> list[Frozen]:
    """Return the columns of ``--curve`` or ``--leave-out-platform``, the one trained on everything first."""
    if kind == "curve":
        cases = {f"{share:.0%} of the cells": (SETS, share) for share in SHARES[::-1]}
    else:
        whole = tuple(name for name in SETS if name not in NUCLEI)
        cases = {"both platforms": (SETS, 1.0), "without nuclei": (whole, 1.0), "without whole cells": (NUCLEI, 1.0)}
    if given and len(given) != len(cases):
        raise SystemExit(f"--{kind} takes no folder or {len(cases)}, in this order: {', '.join(cases)}.")
    columns = []
    for number, (name, (sets, share)) in enumerate(cases.items()):
        path = args.work / f"{kind}-{main.key}-{args.epochs:g}" / re.sub(r"\W+", "-", name)
        if given:
            path = given[number]
        else:
            like = main.model.provenance["options"]
            pretrain_alike(args.data, args.work, path, like, sets=sets, share=share, epochs=args.epochs)
        columns.append(Frozen(args.work, path, name, dtype=args.dtype))
    return columns


def columns_of(args: argparse.Namespace) -> list[Representation]:
    """Return the representations asked for, the main one first."""
    models: list[Representation] = [Frozen(args.work, model, dtype=args.dtype) for model in args.models]
    main = models[0]
    assert isinstance(main, Frozen)
    if args.mlm:
        models.append(Frozen(args.work, args.mlm, "objective mlm", dtype=args.dtype))
    expression = Expression(args.work)
    kinds: dict[str, Callable[[], list[Representation]]] = {
        "random": lambda: [random_weights(args.work, main.model, dtype=args.dtype)],
        "pca": lambda: [Pca(args.work)],
        "expression": lambda: [expression],
        "joined": lambda: [Joined(main, expression)],
        "scvi": lambda: [
            Scvi(args.work, n, library=args.scvi_library, python=args.scvi_python, max_epochs=args.scvi_epochs)
            for n in args.scvi_latent
        ],
    }
    return models + [column for kind in args.baselines for column in kinds[kind]()]


def report(results: list[tuple[str, str, dict[str, Any]]], main: str, title: str, out: Path | None) -> None:
    """Print the tables and write them to ``out.md`` and ``out.tsv``."""
    import sklearn
    import torch

    table = long_table(results, main)
    versions = {"scflyformer": sf.__version__, "torch": torch.__version__, "scikit-learn": sklearn.__version__}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = (
        f"# {title}\n\n`python {shlex.join(sys.argv)}`\n\n{said}, Python {platform.python_version()}\n\n"
        f"{markdown(table, main)}\n\n" + "\n".join(f"- {line}" for line in verdicts(table, main)) + "\n"
    )
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".md").write_text(text)
        table.to_csv(out.with_suffix(".tsv"), sep="\t", index=False, float_format="%.5g")


def main() -> None:
    """Read arguments, compute what is missing, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    names = [*Bench(Path()).makers, "masked genes"]
    parser.add_argument("--models", nargs="+", default=["fly-tiny"], help="names or folders; the first is compared")
    parser.add_argument("--mlm", help="folder of a model pretrained with objective='mlm'")
    parser.add_argument("--baselines", nargs="*", choices=BASELINES, default=BASELINES, help="(default: all)")
    parser.add_argument("--scvi-python", help="Python of an environment with scvi-tools")
    parser.add_argument("--scvi-epochs", type=int, help="bound on scVI's epochs (default: scvi-tools' own rule)")
    parser.add_argument("--scvi-latent", type=int, nargs="+", default=[10], help="scVI's dimensions (default: 10)")
    parser.add_argument("--scvi-library", action="store_true", help="tell scVI's decoder the library")
    parser.add_argument(
        "--tasks", nargs="+", default=names, help=f"words that occur in the names of: {', '.join(names)}"
    )
    parser.add_argument("--work", type=Path, default=Path("pretraining-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--dtype", default="auto", help="number type of the networks that embed (default: %(default)s)")
    parser.add_argument("--curve", nargs="*", metavar="FOLDER", help="compare shares of the pretraining cells instead")
    parser.add_argument(
        "--leave-out-platform", nargs="*", metavar="FOLDER", help="compare models that never saw a platform instead"
    )
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over all cells that --curve trains for")
    args = parser.parse_args()
    tasks = [name for name in names if any(word in name for word in args.tasks)]
    if not tasks:
        raise SystemExit(f"--tasks {args.tasks} fits none of: {', '.join(names)}.")
    sc.settings.verbosity = 0  # no bars: progress is told task by task
    bench = Bench(args.data)
    columns, title = columns_of(args), "Representations on held-out libraries"
    for kind, given in (("curve", args.curve), ("leave-out-platform", args.leave_out_platform)):
        if given is not None:
            main_model = columns[0]
            assert isinstance(main_model, Frozen)
            columns = trained(args, main_model, kind, given)
            title = {"curve": "Share of the pretraining cells"}.get(kind, "A platform left out of pretraining")
    results = compare(bench, columns, tasks, args.work, n_boot=args.n_boot)
    report(results, columns[0].name, title, args.out)


if __name__ == "__main__":
    main()
