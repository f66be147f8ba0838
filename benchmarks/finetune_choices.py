"""What helps fine-tuning? Variants of it on validation libraries, not on test ones.

``python benchmarks/finetune_choices.py --dtype bfloat16 --work DIR`` draws ``--cells`` reference cells of the training
libraries of head, body and davie (w1118), fine-tunes the same network in one setting after another, and labels the
libraries held out for that, which are those of ``annotation_choices.py``. Every variant learns from the same cells and
stops by the same ones. The first column is what ``tl.annotate(method="finetune")`` does, but from fewer cells.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _bench import Bench
from _report import report
from _representations import Frozen
from _results import described
from _tasks import Resamples
from annotation_choices import PENALTY, Cells, scored
from pretrain_fly import add_data_argument
from scipy import sparse
from scipy.special import softmax

from scflyformer._running import Running
from scflyformer.annotation._finetune import finetune
from scflyformer.annotation._trainer import FinetuneOptions, FinetuneTask
from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.network._infer import embed_rows
from scflyformer.stats._classification import fit_temperature
from scflyformer.stats._families import LOGISTIC
from scflyformer.stats._linear import one_scale
from scflyformer.stats._splits import sample_folds
from scflyformer.tokens._rows import TokenRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

VERSION = 2
"""Counts up when a kept prediction is no longer what the code would make."""
N_QUERY, N_CHECK = 3_000, 1_000
VARIANTS: dict[str, dict[str, Any]] = {
    "finetune": {},
    "no gene dropout": {"gene_dropout": 0.0},
    "256 genes a step": {"n_tokens": 256},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "label smoothing 0.05": {"label_smoothing": 0.05},
    "balanced batches": {},
    "thinned counts": {},
}
"""Options of each run; the last two change which cells are drawn instead."""
SEEDS = ("finetune", "seed 1", "seed 2")
"""The runs that are averaged."""


class Study:
    """One set's cells: those that teach, those that decide, those that are asked for, and all of them as tokens."""

    def __init__(self, bench: Bench, name: str, model: Frozen, n_cells: int) -> None:
        task, self.cells = bench.makers[f"{name} labels"](), Cells(bench, name, model)
        self.frozen, self.y, self.n_classes = model, self.cells.y, self.cells.n_classes
        random = np.random.default_rng(0)
        some = np.sort(random.permutation(self.cells.train)[:n_cells])
        folds = sample_folds(self.cells.libraries[some], labels=self.y[some], n_splits=4)
        self.train, self.check = some[folds != 0], some[folds == 0][:N_CHECK]
        self.test = np.sort(random.permutation(self.cells.test)[:N_QUERY])
        self.adata: AnnData = task.data.adata[task.data.used]
        self.rows = self.ranked(self.adata)
        self.head = self.probe(self.y[self.train])

    def ranked(self, adata: AnnData) -> TokenRows:
        """Return cells as tokens."""
        return _adata.token_rows(adata, self.frozen.model, Reading(gene_key="FBgn"), progress=False)[0]

    def probe(self, y: np.ndarray) -> Any:
        """Return the readout of the frozen embedding."""
        return LOGISTIC.fit(self.cells.x[self.train], y, n_classes=self.n_classes, parameter=PENALTY)

    def thinned(self) -> TokenRows:
        """Return the cells once more, each with a random half to all of its counts."""
        counts = sparse.csr_matrix(self.adata.X[self.train])
        random = np.random.default_rng(0)
        share = np.repeat(random.uniform(0.5, 1, counts.shape[0]), np.diff(counts.indptr))
        counts.data = random.binomial(counts.data.astype(np.int64), share).astype(np.float32)
        counts.eliminate_zeros()
        twin = self.adata[self.train].copy()
        twin.X = counts
        return self.ranked(twin)

    def run(self, name: str, *, dtype: str) -> dict[str, np.ndarray]:
        """Return probabilities of the cells asked for, and of those that teach."""
        options, rows, y, train = FinetuneOptions(**VARIANTS[name]), self.rows, self.y, self.train
        if name == "balanced batches":
            weight = np.bincount(y[train], minlength=self.n_classes)[y[train]] ** -0.5
            train = np.random.default_rng(0).choice(train, len(train), p=weight / weight.sum())
        if name == "thinned counts":
            rows = TokenRows.concatenate([rows, self.thinned()])
            y = np.concatenate([y, y[train]])
            train = np.concatenate([train, np.arange(len(self.rows), len(rows))])
            options = replace(options, epochs=2)
        model, running = self.frozen.model, Running(dtype=dtype)
        start = self.head(self.cells.x[self.check])
        task = FinetuneTask(model, rows, y, options, running)
        found = finetune(task, self.head, train=train, check=self.check, start=start)
        temperature = fit_temperature(found.logits, self.y[self.check])

        def say(cells: np.ndarray) -> np.ndarray:
            vectors = embed_rows(found.network, self.rows.take(cells), pooling=model.pooling, running=running)
            return softmax(found.head(vectors) / temperature, axis=1)

        return {"test": say(self.test), "train": say(self.train), "kept": np.array([found.epoch, found.share])}

    def frozen_probe(self) -> np.ndarray:
        """Return what the probe says, that every run starts from."""
        temperature = fit_temperature(self.head(self.cells.x[self.check]), self.y[self.check])
        return softmax(self.head(self.cells.x[self.test]) / temperature, axis=1)

    def distilled(self, teacher: np.ndarray) -> np.ndarray:
        """Return what a probe says that learnt the teacher's probabilities of the cells that teach."""
        import torch

        mean, scale, x = one_scale(self.cells.x[self.train])
        inputs, wanted = torch.from_numpy(x), torch.from_numpy(teacher.astype(np.float32))
        weight = torch.tensor(self.head.weight, dtype=torch.float32, requires_grad=True)
        bias = torch.tensor(self.head.bias, dtype=torch.float32, requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            solver.zero_grad()
            value = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, wanted)
            value = value + (weight**2).sum() / (2 * PENALTY * len(x))
            value.backward()
            return value

        solver.step(loss)
        new = (self.cells.x[self.test] - mean) / scale
        return softmax(new @ weight.detach().numpy().T + bias.detach().numpy(), axis=1)


def compared(study: Study, work: Path, names: Sequence[str], *, dtype: str) -> dict[str, np.ndarray]:
    """Return probabilities of the cells asked for by each way; what fine-tuned networks say is kept in ``work``."""
    runs = {}
    for name in names:
        file = work / f"{name.replace(' ', '-')}-v{VERSION}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file.with_suffix(".partial.npz"), **study.run(name, dtype=dtype))
            file.with_suffix(".partial.npz").replace(file)
            print(f"[{file}]", flush=True)
        with np.load(file) as stored:
            runs[name] = dict(stored)
    ways = {"probe, same cells": study.frozen_probe()} | {name: found["test"] for name, found in runs.items()}
    if set(SEEDS) <= set(runs):
        ways["mean of 3 seeds"] = np.mean([runs[name]["test"] for name in SEEDS], axis=0)
        ways["probe distilled from them"] = study.distilled(np.mean([runs[name]["train"] for name in SEEDS], axis=0))
    first = ways.pop("finetune")
    return {"finetune": first, **ways}


def main() -> None:
    """Read arguments, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="number type of the network (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", default=["head", "body", "davie"])
    others = [name for name in VARIANTS if name != "finetune"]
    parser.add_argument("--variants", nargs="*", choices=others, default=others, help="(default: all)")
    parser.add_argument("--cells", type=int, default=4_000, help="reference cells a set (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("annotation-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    args = parser.parse_args()
    bench, model = Bench(args.data), Frozen(args.work, args.model, dtype=args.dtype)
    results = []
    for name in args.sets:
        study = Study(bench, name, model, args.cells)
        libraries = study.cells.libraries[study.test]
        draws = Resamples(libraries, n_boot=args.n_boot)
        kept = args.work / "finetune-choices" / f"{name}-{args.cells}-{model.key}"
        ways = compared(study, kept, ["finetune", *args.variants], dtype=args.dtype)
        note = f"{len(study.test):,} cells of {', '.join(np.unique(libraries))}"
        view = partial(described, draws=draws, libraries=libraries, n_train=len(study.train), note=note)
        results += [(name, way, view(found)) for way, found in scored(ways, study.y[study.test], draws).items()]
    title = "Ways to fine-tune, on validation libraries"
    report(results, results[0][1], title, args.out, columns="way", cells="reference cells")


if __name__ == "__main__":
    main()
