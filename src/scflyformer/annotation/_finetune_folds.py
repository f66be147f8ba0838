"""Fine-tuning with folds held out, and the classifier that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scflyformer import _log
from scflyformer.annotation._classifier import Classifier, Fitted
from scflyformer.annotation._probe import fit_probe
from scflyformer.data import _features
from scflyformer.stats._novelty import ClassDistance, Novelty

if TYPE_CHECKING:
    from scflyformer._running import Running
    from scflyformer.annotation._finetune import Finetuned
    from scflyformer.annotation._folds import LabelledFolds
    from scflyformer.annotation._request import AnnotateRequest
    from scflyformer.annotation._trainer import FinetuneTask
    from scflyformer.models import Model
    from scflyformer.stats._linear import LinearHead
    from scflyformer.tokens._rows import TokenRows

_CHECKED_CELLS = 2_000
"""Cells of a fold, at most, that decide what fine-tuning keeps: they are embedded several times."""
_REFERENCE_CELLS = 5_000
"""Cells of each training set, at most, that tell where a fine-tuned network puts the classes."""


class TunedRun(NamedTuple):
    """What a run ended with, and the penalty of the probe that it began from."""

    tuned: Finetuned
    penalty: float


class HeldOut(NamedTuple):
    """Labelled cells of a fold, the run that has not seen them, their logits and their distance to its classes."""

    cells: np.ndarray
    run: TunedRun
    logits: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, eq=False)
class FoldTuner:
    """Fine-tunes on some of the labelled cells; all positions are among these.

    Attributes
    ----------
    task
        Network, ranked cells and settings.
    x
        Frozen embedding of the labelled cells, shape (n_labelled, width).
    labelled
        Their positions, classes and folds.
    """

    task: FinetuneTask
    x: np.ndarray
    labelled: LabelledFolds

    def probe(self, train: np.ndarray, penalty: float) -> LinearHead:
        """Return the probe of the frozen embedding that fine-tuning starts from."""
        from scflyformer.stats._families import LOGISTIC

        y, n_classes = self.labelled.y, self.labelled.n_classes
        head: Any = LOGISTIC.fit(self.x[train], y[train], n_classes=n_classes, parameter=penalty)
        return head

    def tune(self, train: np.ndarray, check: np.ndarray) -> TunedRun:
        """Fine-tune on ``train``; ``check`` decides on the weights.

        The penalty is chosen by the folds of ``train``, each held out in turn, and by ``check`` where there is but one.
        """
        from scflyformer.annotation._finetune import finetune
        from scflyformer.stats._cross import choose
        from scflyformer.stats._families import LOGISTIC

        cells, y, folds = self.labelled.cells, self.labelled.y, self.labelled.folds
        inner = np.unique(folds[train])
        splits = [(train[folds[train] != fold], train[folds[train] == fold]) for fold in inner]
        splits = splits if len(inner) > 1 else [(train, check)]
        penalty = choose(LOGISTIC, self.x, y, splits, self.labelled.n_classes, self.labelled.samples)
        head, check = self.probe(train, penalty), self.subsample(check, _CHECKED_CELLS)
        tuned = finetune(self.task, head, train=cells[train], check=cells[check], start=head(self.x[check]))
        return TunedRun(tuned, penalty)

    def hold_out(self, fold: int) -> HeldOut:
        """Fine-tune without a fold; the next one decides what is kept."""
        folds, n_folds = self.labelled.folds, self.labelled.n_folds
        held, check = np.flatnonzero(folds == fold), np.flatnonzero(folds == (fold + 1) % n_folds)
        train = np.setdiff1d(np.arange(len(folds)), np.concatenate([held, check]))
        run = self.tune(train, check)
        vectors, reference = self.vectors(run.tuned, held), self.subsample(train, _REFERENCE_CELLS)
        nearest = self.distance(self.vectors(run.tuned, reference), reference)
        return HeldOut(held, run, run.tuned.head(vectors), nearest(self.contrast(vectors)))

    def embed(self, network: Any, cells: np.ndarray) -> np.ndarray:
        """Return the embedding of cells by a trained network, shape (n_cells, width)."""
        from scflyformer.network._infer import embed_rows

        rows = self.task.rows.take(self.labelled.cells[cells])
        return embed_rows(network, rows, pooling=self.task.model.pooling, running=self.task.running)

    def vectors(self, tuned: Finetuned, cells: np.ndarray) -> np.ndarray:
        """Return the embedding by what a run kept: the frozen one where it kept that."""
        return self.embed(tuned.network, cells) if tuned.share else self.x[cells]

    def contrast(self, vectors: np.ndarray) -> np.ndarray:
        """Return the columns in which cells are compared with classes."""
        return vectors[:, _features.contrast_columns(self.task.model)]

    def distance(self, vectors: np.ndarray, cells: np.ndarray) -> ClassDistance:
        """Return the distance to the classes of these cells."""
        return ClassDistance.fit(self.contrast(vectors), self.labelled.y[cells])

    def subsample(self, cells: np.ndarray, n: int) -> np.ndarray:
        """Return at most ``n`` of the cells, ascending, the same for a seed."""
        if len(cells) <= n:
            return cells
        return np.sort(np.random.default_rng(self.task.options.seed).choice(cells, n, replace=False))


def fit_finetuned(
    model: Model,
    x: np.ndarray,
    rows: TokenRows,
    labelled: LabelledFolds,
    request: AnnotateRequest,
    running: Running,
    *,
    held_out: Sequence[int] | None,
) -> Fitted:
    """Return the network fine-tuned from the probe that is fitted on its frozen embedding.

    In each training set one fold decides on the weights that are kept; the others choose the penalty of the probe. The
    temperature of a tested fold, and what counts as usual there, come from the other tested folds; where a single one
    is tested, from other samples of it, or from the other half of its cells. The classifier for new cells then learns
    from all labelled cells, as far as these runs bore out (their medians); where that is not at all, it is the probe
    and scored as such.

    Parameters
    ----------
    x, rows
        Frozen embedding, shape (n_obs, width), and ranked genes of all cells.
    held_out
        Folds to test on; `None` for all.
    """
    from scflyformer.annotation._finetune import refit
    from scflyformer.annotation._trainer import FinetuneOptions, FinetuneTask
    from scflyformer.stats._novelty import held_out_novelty
    from scflyformer.stats._reports import calibrated

    y, n_folds = labelled.y, labelled.n_folds
    if n_folds < 3:
        raise ValueError(
            f"method='finetune' needs three folds: to learn, to decide when to stop, to test; got {n_folds}. Give "
            "more samples, a higher n_splits, or use method='probe'."
        )
    codes = np.zeros(len(rows), dtype=np.int64)
    codes[labelled.cells] = y
    options = FinetuneOptions(epochs=request.epochs, seed=request.seed)
    tuner = FoldTuner(FinetuneTask(model, rows, codes, options, running), x[labelled.cells], labelled)
    probability = np.full((len(y), labelled.n_classes), np.nan)
    logits, distance = probability.copy(), np.full(len(y), np.nan)
    runs: list[TunedRun] = []
    for fold in range(n_folds) if held_out is None else held_out:
        _log.info(f"annotate: fine-tuning with fold {fold + 1} of {n_folds} held out")
        held = tuner.hold_out(fold)
        runs.append(held.run)
        logits[held.cells], distance[held.cells] = held.logits, held.distance
    tested = ~np.isnan(distance)
    groups = labelled.apart(tested)
    probability[tested], temperature = calibrated(logits[tested], y[tested], groups)
    share = float(np.median([run.tuned.share for run in runs]))
    epoch = round(np.median([run.tuned.epoch for run in runs if run.tuned.share] or [0])) if share else 0
    notes = {"epoch": epoch, "share": share, "losses": runs[0].tuned.losses}
    if not share:
        _log.info("annotate: held-out cells do not gain from fine-tuning, so the frozen network is kept")
        return fit_probe(model, x, labelled).only(tested, notes)
    _log.info(f"annotate: fine-tuning on all labelled cells ({epoch} of {request.epochs} passes, share {share:g})")
    everything = np.arange(len(y))
    start = tuner.probe(everything, float(np.median([run.penalty for run in runs])))
    network, head = refit(tuner.task, start, train=labelled.cells, epoch=epoch, share=share)
    reference = tuner.subsample(everything, _REFERENCE_CELLS)
    nearest = tuner.distance(tuner.embed(network, reference), reference)
    scorer = Novelty.fit(nearest, logits[tested], distance[tested])
    novelty = np.full(len(y), np.nan)
    novelty[tested] = held_out_novelty(logits[tested], distance[tested], groups)
    classifier = Classifier(model.with_network(network), head, temperature, scorer)
    return Fitted(classifier, tested, probability, novelty, notes)
