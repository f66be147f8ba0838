"""The labelled cells and the folds in which classifiers and baselines are tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scflyformer import _log
from scflyformer.data import _adata, _features

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.annotation._request import AnnotateRequest
    from scflyformer.data._labels import Labels


@dataclass(frozen=True, eq=False)
class LabelledFolds:
    """Labelled cells and their folds.

    Attributes
    ----------
    cells
        Positions among all cells, shape (n_labelled,).
    y, folds
        Class code and fold of each.
    classes
        Names of the classes.
    names, samples
        Name and sample of each; `None` where no samples are named.
    """

    cells: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    classes: np.ndarray
    names: np.ndarray
    samples: np.ndarray | None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.folds.max()) + 1

    @property
    def units(self) -> np.ndarray:
        """What is held out as a whole: the sample of each cell, or the cell where none are named."""
        return self.names if self.samples is None else self.samples

    def apart(self, tested: np.ndarray) -> np.ndarray:
        """Return two groups or more of the tested cells (bool, one a labelled cell), none of which may judge itself.

        Their folds; where a single fold is tested its samples, else halves of its cells.
        """
        for groups in (self.folds[tested], *([] if self.samples is None else [self.samples[tested].astype(str)])):
            codes = np.unique(groups, return_inverse=True)[1]
            if codes.max() > 0:
                return codes
        order = np.argsort(self.names[tested].astype(str), kind="stable")
        halves = np.empty(len(order), dtype=np.int64)
        halves[order] = np.arange(len(order)) % 2
        return halves


def split_labelled(
    data: AnnData, labels: Labels, samples: np.ndarray | None, request: AnnotateRequest, *, layer: str | None
) -> LabelledFolds:
    """Return folds of samples, or of cells, each of which leaves at least two classes to learn from."""
    cells = np.flatnonzero(labels.codes >= 0)
    y, names = labels.codes[cells], _adata.cell_names(data, layer=layer)[cells]
    within = None if samples is None else samples[cells]
    folds = _features.folds(names, within, labels=y, n_splits=request.n_splits, seed=request.seed)
    if within is None:
        _log.warning(
            "annotate: no sample_key, so single cells are held out; scores overestimate transfer to new samples. "
            "Pass sample_key= to hold out whole samples."
        )
    labelled = LabelledFolds(cells, y, folds, labels.classes, names, within)
    for fold in range(labelled.n_folds):
        if len(np.unique(y[folds != fold])) < 2:
            held = sorted(set(_adata.plain_names(labelled.units[folds == fold])))
            raise ValueError(
                f"With {', '.join(held[:5])} held out, the other cells have a single class. Give more samples that "
                f"hold several classes, or leave sample_key out to split by cell."
            )
    return labelled
