"""The two classifiers of `tl.annotate`: logistic regression on the frozen embedding, and the fine-tuned network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer import _log
from scflyformer.annotation._classifier import Classifier
from scflyformer.data import _features

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.annotation._finetune import Finetuned
    from scflyformer.models import Model
    from scflyformer.tokens._rows import TokenRows

_JUDGES = 2_000
"""Cells of a fold, at most, that decide what fine-tuning keeps: they are embedded several times."""
_REFERENCE_CELLS = 5_000
"""Cells of each training set, at most, that tell where a fine-tuned network puts the classes."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A classifier, and what it says of labelled cells that it has not seen.

    Attributes
    ----------
    classifier
        For new cells.
    tested
        Labelled cells that were held out, bool, shape (n_labelled,).
    probability, novelty
        Of these, NaN elsewhere: calibrated, (n_labelled, n_classes), and 0 to 1, (n_labelled,).
    notes
        What else is told of the fit.
    """

    classifier: Classifier
    tested: np.ndarray
    probability: np.ndarray
    novelty: np.ndarray
    notes: dict[str, Any]

    def only(self, tested: np.ndarray, notes: dict[str, Any]) -> Fitted:
        """Return this fit, scored on fewer of its held-out cells and with further notes."""
        tested = self.tested & tested
        probability, novelty = self.probability.copy(), self.novelty.copy()
        probability[~tested] = novelty[~tested] = np.nan
        return Fitted(self.classifier, tested, probability, novelty, self.notes | notes)


@dataclass(frozen=True, eq=False)
class Arm:
    """What the baselines stand beside.

    Attributes
    ----------
    name
        Its entry under `features`.
    held_out
        Folds that it is tested on; `None` for all.
    fit
        Called with positions of the labelled cells, their class codes, their folds and the number of classes.
    """

    name: str
    held_out: Sequence[int] | None
    fit: Callable[[np.ndarray, np.ndarray, np.ndarray, int], Fitted]


def probe(model: Model | None, x: np.ndarray) -> Arm:
    """Return logistic regression on a frozen embedding, shape (n_obs, width), that ``model`` made, if it is known."""
    from scflyformer.annotation._novelty import ClassDistance, Novelty
    from scflyformer.stats._cross import cross_fit
    from scflyformer.stats._families import LOGISTIC
    from scflyformer.stats._reports import calibrated

    def fit(known: np.ndarray, y: np.ndarray, folds: np.ndarray, n_classes: int) -> Fitted:
        features = x[known]
        near = features[:, _features.contrast_columns(model)]
        found = cross_fit(LOGISTIC, features, y, folds, n_classes=n_classes)
        head: Any = LOGISTIC.fit(features, y, n_classes=n_classes, parameter=found.parameter)
        distance = np.empty(len(y))
        for fold in range(folds.max() + 1):
            held = folds == fold
            distance[held] = ClassDistance.fit(near[~held], y[~held])(near[held])
        probability, temperature = calibrated(found.logits, y, folds)
        novelty = Novelty.fit(ClassDistance.fit(near, y), found.logits, distance)
        classifier = Classifier(model, head, temperature, novelty)
        tested, notes = np.ones(len(y), dtype=bool), {"penalty": found.parameter}
        return Fitted(classifier, tested, probability, novelty.place(found.logits, distance), notes)

    return Arm("embedding", None, fit)


def finetuned(
    model: Model,
    x: np.ndarray,
    rows: TokenRows,
    *,
    held_out: Sequence[int] | None,
    epochs: int,
    seed: int,
    running: Running,
) -> Arm:
    """Return the network fine-tuned from the probe that is fitted on its frozen embedding.

    In each training set one fold decides on the penalty of the probe, on the weights that are kept, and on the
    temperature. The classifier for new cells then learns from all labelled cells, as far as these runs bore out (their
    medians); where that is not at all, it is the probe and scored as such.

    Parameters
    ----------
    model
        The model.
    x
        Its frozen embedding of all cells, shape (n_obs, width).
    rows
        All cells, ranked.
    held_out
        Folds to test on; `None` for all.
    epochs, seed
        As for :func:`scflyformer.tl.annotate`.
    running
        How the network runs.
    """
    from scflyformer.annotation._finetune import FinetuneOptions, finetune, refit
    from scflyformer.annotation._novelty import ClassDistance, Novelty
    from scflyformer.network._infer import embed_rows
    from scflyformer.stats._classification import fit_temperature, softmax
    from scflyformer.stats._cross import choose
    from scflyformer.stats._families import LOGISTIC

    contrast = _features.contrast_columns(model)
    options = FinetuneOptions(epochs=epochs, seed=seed)

    def embed(network: Any, cells: np.ndarray) -> np.ndarray:
        return embed_rows(network, rows.take(cells), pooling=model.pooling, running=running)

    def some(cells: np.ndarray, n: int) -> np.ndarray:
        return cells if len(cells) <= n else np.sort(np.random.default_rng(seed).choice(cells, n, replace=False))

    def fit(known: np.ndarray, y: np.ndarray, folds: np.ndarray, n_classes: int) -> Fitted:
        features, codes = x[known], np.zeros(len(rows), dtype=np.int64)
        codes[known] = y

        def probe_on(train: np.ndarray, penalty: float) -> Any:
            return LOGISTIC.fit(features[train], y[train], n_classes=n_classes, parameter=penalty)

        def vectors_of(found: Finetuned, cells: np.ndarray) -> np.ndarray:
            return embed(found.network, known[cells]) if found.share else features[cells]

        def distances(vectors: np.ndarray, cells: np.ndarray) -> ClassDistance:
            return ClassDistance.fit(vectors[:, contrast], y[cells])

        def tune(train: np.ndarray, check: np.ndarray) -> tuple[Finetuned, float, float]:
            penalty = choose(LOGISTIC, features, y, train, check, n_classes)
            head, check = probe_on(train, penalty), some(check, _JUDGES)
            found = finetune(
                model.network(), head, rows, codes, train=known[train], check=known[check], options=options,
                start=head(features[check]), pooling=model.pooling, running=running,
            )  # fmt: skip
            return found, penalty, fit_temperature(found.logits, y[check])

        n_folds = int(folds.max()) + 1
        if n_folds < 3:
            raise ValueError(
                f"method='finetune' needs three folds: to learn, to decide when to stop, to test; got {n_folds}. Give "
                "more samples, a higher n_splits, or use method='probe'."
            )
        probability = np.full((len(y), n_classes), np.nan)
        logits, distance = probability.copy(), np.full(len(y), np.nan)
        everything = np.arange(len(y))
        runs: list[tuple[Finetuned, float]] = []
        for fold in range(n_folds) if held_out is None else held_out:
            _log.info(f"annotate: fine-tuning with fold {fold + 1} of {n_folds} held out")
            held, check = np.flatnonzero(folds == fold), np.flatnonzero(folds == (fold + 1) % n_folds)
            train = np.setdiff1d(everything, np.concatenate([held, check]))
            found, penalty, temperature = tune(train, check)
            runs.append((found, penalty))
            vectors, few = vectors_of(found, held), some(train, _REFERENCE_CELLS)
            logits[held] = found.head(vectors)
            distance[held] = distances(vectors_of(found, few), few)(vectors[:, contrast])
            probability[held] = softmax(logits[held], temperature)
        tested = ~np.isnan(distance)
        share = float(np.median([found.share for found, _ in runs]))
        epoch = round(np.median([found.epoch for found, _ in runs if found.share] or [0])) if share else 0
        notes = {"epoch": epoch, "share": share, "losses": runs[0][0].losses}
        if not share:
            _log.info("annotate: held-out cells do not gain from fine-tuning, so the frozen network is kept")
            return probe(model, x).fit(known, y, folds, n_classes).only(tested, notes)
        _log.info(f"annotate: fine-tuning on all labelled cells ({epoch} of {epochs} passes, share {share:g})")
        network, head = refit(
            model.network(), probe_on(everything, float(np.median([penalty for _, penalty in runs]))), rows, codes,
            train=known, epoch=epoch, share=share, options=options, running=running,
        )  # fmt: skip
        few = some(everything, _REFERENCE_CELLS)
        novelty = Novelty.fit(distances(embed(network, known[few]), few), logits[tested], distance[tested])
        strange = np.full(len(y), np.nan)
        strange[tested] = novelty.place(logits[tested], distance[tested])
        temperature = fit_temperature(logits[tested], y[tested])
        classifier = Classifier(model.with_network(network), head, temperature, novelty)
        return Fitted(classifier, tested, probability, strange, notes)

    return Arm("finetuned", held_out, fit)
