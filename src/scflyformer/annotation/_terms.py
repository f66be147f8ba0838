"""Ontology terms of a classifier's classes: answers as broad as the precision asked for needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from scflyformer.data._tables import text_index
from scflyformer.ontology._roll_up import TermTree, precision_curve, term_tree, threshold_for
from scflyformer.ontology._terms import CELL, PREFIX, fbbt


@dataclass(frozen=True, eq=False)
class ClassTerms:
    """The FBbt term of each class, and how precise answers rolled up to terms are.

    Attributes
    ----------
    terms
        Ids, object, shape (n_classes,).
    precision
        Share of held-out cells that a rolled-up answer is right for, at each of
        :data:`scflyformer.ontology._roll_up.THRESHOLDS`.
    """

    terms: np.ndarray
    precision: np.ndarray

    @classmethod
    def of_ids(cls, classes: np.ndarray, probability: np.ndarray, true_class: np.ndarray) -> ClassTerms | None:
        """Return the terms of classes that are ids of FBbt, else `None`; cells must be held out."""
        if not all(str(name).startswith(PREFIX) for name in classes) or not set(classes) <= set(fbbt().names):
            return None  # the table is not read for other words
        return cls(classes, precision_curve(term_tree(list(classes), fbbt()), probability, true_class))

    @cached_property
    def tree(self) -> TermTree:
        """The terms that answers are rolled up to."""
        absent = sorted({term for term in self.terms if term not in fbbt().names})
        if absent:
            raise ValueError(
                f"The classifier names {', '.join(absent[:5])}, and FBbt {fbbt().release}, which this version of "
                "scflyformer ships, has no such term. Install a newer scflyformer, or fit the classifier again."
            )
        return term_tree(list(self.terms), fbbt())

    def answers(
        self, probability: np.ndarray, known: np.ndarray, precision: float, key: str
    ) -> tuple[dict[str, object], dict[str, object]]:
        """Return columns of `obs` and entries of `uns`: for each cell the deepest term that is probable enough.

        Cells that are not ``known``, bool, shape (n_cells,), are a *cell*, under which everything falls.
        """
        threshold = threshold_for(precision, self.precision)
        chosen, _ = self.tree.roll_up(probability, threshold)
        chosen[~known] = len(self.tree.terms) - 1
        used, codes = np.unique(chosen, return_inverse=True)
        ids = self.tree.terms[used]
        names = [fbbt().names[term] for term in ids]
        obs = {
            f"{key}_fbbt": pd.Categorical.from_codes(codes, list(ids)),
            f"{key}_fbbt_name": pd.Categorical.from_codes(codes, names),
            f"{key}_level": self.tree.n_classes[chosen].astype(np.int32),
        }
        table = {"term": self.terms, "name": [fbbt().names[term] for term in self.terms]}
        rolled = {"precision": precision, "threshold": threshold, "release": fbbt().release, "cell": CELL}
        return obs, {"terms": text_index(pd.DataFrame(table)), "roll_up": rolled}
