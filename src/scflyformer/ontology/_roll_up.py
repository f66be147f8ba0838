"""Class probabilities rolled up an ontology: the deepest term that is probable enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scflyformer.ontology._terms import CELL, Ontology

THRESHOLDS = np.round(np.arange(0.3, 1.0, 0.01), 2)
"""Probabilities that `precision_curve` tries."""


@dataclass(frozen=True, eq=False)
class TermTree:
    """Terms that classes can be rolled up to, the deepest first; the last is *cell*, under which all classes fall.

    Attributes
    ----------
    terms
        Term ids, shape (n_terms,).
    covers
        Whether a class is at or below a term, bool, shape (n_classes, n_terms).
    """

    terms: np.ndarray
    covers: np.ndarray

    @property
    def n_classes(self) -> np.ndarray:
        """Classes at or below each term, shape (n_terms,)."""
        return self.covers.sum(axis=0)

    def roll_up(self, probability: np.ndarray, threshold: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the deepest term whose probability reaches the threshold, as its number, and that probability.

        A term's probability is the sum over the classes at or below it; shapes (n_cells,).
        """
        sums = np.minimum(probability @ self.covers, 1.0)
        sums[:, -1] = 1.0
        chosen = np.argmax(sums >= threshold, axis=1)
        return chosen, sums[np.arange(len(sums)), chosen]


def term_tree(class_terms: Sequence[str], ontology: Ontology) -> TermTree:
    """Return the terms at or above those of the classes that are kinds of cell, or terms of a class themselves.

    Of terms with the same classes below them the deepest stays, since the data cannot tell them apart.
    """
    above = [ontology.ancestors(term) for term in class_terms]
    asked = set(class_terms)
    terms = [term for term in set().union(*above) if term in asked or ontology.is_cell(term)]
    terms.sort(key=lambda term: (ontology.n_below[term], term))
    kept: dict[bytes, str] = {}
    for term in terms:
        covers = np.array([term in names for names in above])
        if term != CELL and not covers.all():
            kept.setdefault(covers.tobytes(), term)
    columns = [np.frombuffer(covers, dtype=bool) for covers in kept]
    everything = np.ones(len(class_terms), dtype=bool)
    return TermTree(np.array([*kept.values(), CELL]), np.stack([*columns, everything], axis=1))


def precision_curve(tree: TermTree, probability: np.ndarray, true_class: np.ndarray) -> np.ndarray:
    """Return, for each of `THRESHOLDS`, the share of cells whose class is at or below the term they are rolled up to.

    Probabilities must be of cells that the classifier has not learnt from, shape (n_cells, n_classes).
    """
    right = []
    for threshold in THRESHOLDS:
        chosen, _ = tree.roll_up(probability, threshold)
        right.append(tree.covers[true_class, chosen].mean())
    return np.array(right)


def threshold_for(precision: float, curve: np.ndarray) -> float:
    """Return the lowest threshold from which on every precision of the curve is at least the one asked for; else 1."""
    short = np.flatnonzero(curve < precision)
    first = short[-1] + 1 if len(short) else 0
    return float(THRESHOLDS[first]) if first < len(THRESHOLDS) else 1.0
