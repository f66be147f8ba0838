"""What classifiers are compared with: other features and other families, in the same folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from scflyformer.data import _features

if TYPE_CHECKING:
    from anndata import AnnData

    from scflyformer.annotation._folds import LabelledFolds
    from scflyformer.data._reading import Reading
    from scflyformer.stats._families import Family


@dataclass(eq=False)
class Baselines:
    """Baselines of a classifier.

    Attributes
    ----------
    data
        The cells, of which some are labelled.
    labelled
        These and their folds.
    tested
        Labelled cells that the classifier is tested on, bool, shape (n_labelled,).
    features
        Gives what a baseline of that name reads, shape (n_obs, width); called where it is needed.
    reading
        What the baselines read in these cells.
    """

    data: AnnData
    labelled: LabelledFolds
    tested: np.ndarray
    features: Mapping[str, Callable[[], np.ndarray]]
    reading: Reading

    @cached_property
    def expression(self) -> Any:
        """Expression of the labelled cells, read once, where it is first needed."""
        return _features.expression_features(self.data, self.reading)[0][self.labelled.cells]

    @property
    def folds(self) -> list[int] | None:
        """Folds to hold out; `None` for all. Where few are tested, one more gives the temperature."""
        n_folds = self.labelled.n_folds
        tested = np.unique(self.labelled.folds[self.tested]).tolist()
        return None if len(tested) == n_folds else sorted({*tested, (max(tested) + 1) % n_folds})

    def probability(self, name: str) -> np.ndarray:
        """Return calibrated out-of-fold probabilities, shape (n_labelled, n_classes); NaN in folds not held out."""
        from scflyformer.stats._cross import cross_fit
        from scflyformer.stats._reports import calibrated

        y, folds, only = self.labelled.y, self.labelled.folds, self.folds
        family, x = self._read(name)
        labelled = self.labelled
        logits = cross_fit(
            family, x, y, folds, n_classes=labelled.n_classes, samples=labelled.samples, only=only
        ).logits
        done = np.isin(folds, folds if only is None else only)
        probability = np.full_like(logits, np.nan)
        probability[done] = calibrated(logits[done], y[done], folds[done])[0]
        return probability

    def _read(self, name: str) -> tuple[Family, Any]:
        """Return the family that a baseline fits and what it reads, n_labelled × features."""
        from scflyformer.stats import _families as families

        on_expression = {
            "expression": families.SPARSE_LOGISTIC,
            "pca": families.PCA_LOGISTIC,
            "neighbours": families.NEIGHBOURS,
        }
        if name in on_expression:
            return on_expression[name], self.expression
        if name == "majority":
            return families.MAJORITY, np.zeros((len(self.labelled.y), 1), dtype=np.float32)
        return families.LOGISTIC, self.features[name]()[self.labelled.cells]
