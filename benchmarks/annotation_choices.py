"""How is the probe best read off? Ways to label, and scores of strangeness, on validation libraries, not on test ones.

``python benchmarks/annotation_choices.py --work DIR`` takes the frozen embedding of a model and the training libraries
of head, body and davie (w1118); of these, one fold in four is held out. The first column is what `tl.annotate` does.
``--hidden`` compares scores of strangeness: seven times over, two types are taken out of the reference.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _annotation_scores import auroc
from _bench import Bench
from _report import report
from _representations import Frozen
from _results import described
from _tasks import Resamples, beside, logistic
from pretrain_fly import add_data_argument
from scipy.special import softmax

from scflyformer.annotation._novelty import ClassDistance, Novelty, energy
from scflyformer.clock._units import EXPRESSION
from scflyformer.data import _features
from scflyformer.stats._components import nearest
from scflyformer.stats._families import LOGISTIC, SPARSE_LOGISTIC
from scflyformer.stats._linear import one_scale
from scflyformer.stats._splits import sample_folds

PENALTY, SHARE = 0.003, 0.003
"""Those that head's inner folds choose; the same for every column."""
N_DRAWS = 7
MIN_QUERY, MIN_REFERENCE = 40, 100


class Cells:
    """Features and types of reference (`train`) and query (`test`) cells of one set's training libraries."""

    def __init__(self, bench: Bench, name: str, model: Frozen) -> None:
        task = bench.makers[f"{name} labels"]()
        known, self.libraries = task.splits[0].train, task.data.libraries
        held = sample_folds(self.libraries[known], labels=task.target[known], n_splits=4) == 0
        self.train, self.test = known[~held], known[held]
        self.y, self.n_classes = task.target, int(task.target.max()) + 1
        self.x = model.blocks(task.data, task.splits[0].fit)["embedding"]
        self.contrast = self.x[:, _features.contrast_columns(model.model)]
        self.expression = task.data.expression[task.data.used]
        self.note = f"{held.sum():,} cells of {', '.join(np.unique(self.libraries[self.test]))} held out"


def weighted(cells: Cells, power: float) -> np.ndarray:
    """Return the probabilities of logistic regression whose cells count as their type's frequency to −power."""
    from sklearn.linear_model import LogisticRegression

    mean, scale, x = one_scale(cells.x[cells.train])
    y = cells.y[cells.train]
    weight = np.bincount(y, minlength=cells.n_classes)[y] ** -power
    model = LogisticRegression(C=PENALTY, max_iter=300, tol=1e-3)
    model.fit(x, y, sample_weight=weight / weight.mean())
    out = np.zeros((len(cells.test), cells.n_classes))
    out[:, model.classes_] = model.predict_proba((cells.x[cells.test] - mean) / scale)
    return out


def fitted(cells: Cells, family: Any, x: Any, parameter: float) -> np.ndarray:
    """Return the probabilities of one classifier of a family."""
    head = family.fit(x[cells.train], cells.y[cells.train], n_classes=cells.n_classes, parameter=parameter)
    return softmax(head(x[cells.test]), axis=1)


def votes(cells: Cells, k: int = 15) -> np.ndarray:
    """Return the shares of the types among the nearest reference cells, by the contrast part."""
    found = cells.y[cells.train][nearest(cells.contrast[cells.train], cells.contrast[cells.test], k)]
    return np.stack([(found == code).mean(axis=1) for code in range(cells.n_classes)], axis=1)


def smoothed(cells: Cells, probability: np.ndarray, k: int = 15) -> np.ndarray:
    """Return the mean of the probabilities and those of the nearest query cells."""
    new = cells.contrast[cells.test]
    return (probability + probability[nearest(new, new, k)].mean(axis=1)) / 2


def ways(cells: Cells) -> dict[str, np.ndarray]:
    """Return probabilities of the query cells by each way to label."""
    probe = fitted(cells, LOGISTIC, cells.x, PENALTY)
    lasso = fitted(cells, SPARSE_LOGISTIC, cells.expression, SHARE)
    both = {"embedding": cells.x, EXPRESSION: cells.expression}
    return {
        "probe": probe,
        "types weighted by √": weighted(cells, 0.5),
        "types weighted alike": weighted(cells, 1.0),
        "with expression": fitted(cells, logistic(both), beside(both), PENALTY),
        "mean with L1 of expression": (probe + lasso) / 2,
        "15 % votes of neighbours": 0.85 * probe + 0.15 * votes(cells),
        "mean over query neighbours": smoothed(cells, probe),
        "L1 of expression": lasso,
    }


def cosine(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the mean distance to the five nearest reference cells, all scaled to length 1."""
    train, test = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (train, test))
    found = nearest(train, test, 5)
    return np.linalg.norm(test[:, None] - train[found], axis=2).mean(axis=1)


def strangeness(cells: Cells, train: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores of the query cells, given the reference cells ``train``."""
    y = np.unique(cells.y[train], return_inverse=True)[1]
    folds = sample_folds(cells.libraries[train], labels=y, n_splits=3)
    logits, distance = np.zeros((len(train), y.max() + 1)), np.zeros(len(train))
    for fold in range(3):
        held = folds == fold
        head = LOGISTIC.fit(cells.x[train[~held]], y[~held], n_classes=y.max() + 1, parameter=PENALTY)
        logits[held] = head(cells.x[train[held]])
        distance[held] = ClassDistance.fit(cells.contrast[train[~held]], y[~held])(cells.contrast[train[held]])
    head = LOGISTIC.fit(cells.x[train], y, n_classes=y.max() + 1, parameter=PENALTY)
    new, new_logits = cells.contrast[cells.test], head(cells.x[cells.test])
    near = ClassDistance.fit(cells.contrast[train], y)
    probability = softmax(new_logits, axis=1)
    return {
        "energy and distance": Novelty.fit(near, logits, distance)(new, new_logits),
        "energy": energy(new_logits),
        "distance to a class": near(new),
        "distance, whole embedding": ClassDistance.fit(cells.x[train], y)(cells.x[cells.test]),
        "cosine to 5 neighbours": cosine(cells.contrast[train], new),
        "entropy": -(probability * np.log(np.maximum(probability, 1e-12))).sum(axis=1),
        "1 − probability": 1 - probability.max(axis=1),
    }


def hidden(cells: Cells, draws: Resamples, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the AUROC of each score, mean over draws of two hidden types."""
    random = np.random.default_rng(seed)
    there = [np.bincount(cells.y[part], minlength=cells.n_classes) for part in (cells.train, cells.test)]
    large = np.flatnonzero((there[0] >= MIN_REFERENCE) & (there[1] >= MIN_QUERY))
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(N_DRAWS):
        types = random.choice(large, 2, replace=False)
        scores = strangeness(cells, cells.train[~np.isin(cells.y[cells.train], types)])
        for name, score in scores.items():
            found.setdefault(name, []).append(auroc(draws, score, np.isin(cells.y[cells.test], types)))
    return {name: np.mean(each, axis=0) for name, each in found.items()}


def scored(found: dict[str, np.ndarray], truth: np.ndarray, draws: Resamples) -> dict[str, dict[str, np.ndarray]]:
    """Return accuracy, macro-F1 and log-likelihood of each way to label."""
    out = {}
    for name, probability in found.items():
        best = probability.argmax(axis=1)
        loss = -np.log(np.maximum(probability[np.arange(len(truth)), truth], 1e-6))
        out[name] = {
            "accuracy": draws.mean((best == truth).astype(float)),
            "macro-F1": draws.macro_f1(truth, best),
            "nats a label": draws.mean(loss),
        }
    return out


def main() -> None:
    """Read arguments, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--model", default="fly", help="name or folder (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="number type of the network (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", default=["head", "body", "davie"])
    parser.add_argument("--hidden", action="store_true", help="compare scores of strangeness")
    parser.add_argument("--work", type=Path, default=Path("annotation-benchmark"), help="what is kept (%(default)s)")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.tsv")
    parser.add_argument("--n-boot", type=int, default=1000)
    args = parser.parse_args()
    bench, model = Bench(args.data), Frozen(args.work, args.model, dtype=args.dtype)
    results = []
    for name in args.sets:
        cells = Cells(bench, name, model)
        libraries = cells.libraries[cells.test]
        draws = Resamples(libraries, n_boot=args.n_boot)
        view = partial(described, draws=draws, libraries=libraries, n_train=len(cells.train), note=cells.note)
        if args.hidden:
            found = {column: {"AUROC, hidden types": value} for column, value in hidden(cells, draws).items()}
        else:
            found = scored(ways(cells), cells.y[cells.test], draws)
        results += [(name, column, view(metrics)) for column, metrics in found.items()]
    title = "Scores of strangeness" if args.hidden else "Ways to label"
    report(
        results, results[0][1], f"{title}, on validation libraries", args.out, columns="way", cells="reference cells"
    )


if __name__ == "__main__":
    main()
