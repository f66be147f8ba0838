"""Roll-up on a tree small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.ontology._roll_up import THRESHOLDS, precision_curve, term_tree, threshold_for
from scflyformer.ontology._terms import CELL, Ontology

PARENTS = {CELL: (), "glia": (CELL,), "neuron": (CELL,), "T4": ("neuron", "lobe"), "T5": ("neuron",), "lobe": ()}


@pytest.fixture
def tree():
    n_below = {CELL: 5, "glia": 1, "neuron": 3, "T4": 1, "T5": 1, "lobe": 2}
    none = dict.fromkeys(PARENTS, ())
    ontology = Ontology("", {name: name for name in PARENTS}, PARENTS, none, n_below)
    return term_tree(["T4", "T5", "glia"], ontology)


def test_the_terms_are_cells_deepest_first(tree):
    assert tree.terms.tolist() == ["T4", "T5", "glia", "neuron", CELL]  # an optic lobe is no kind of cell
    assert tree.n_classes.tolist() == [1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("probability", "threshold", "term", "sum_"),
    [
        ((0.9, 0.05, 0.05), 0.8, "T4", 0.9),
        ((0.5, 0.45, 0.05), 0.8, "neuron", 0.95),
        ((0.4, 0.1, 0.5), 0.8, CELL, 1.0),
        ((0.5, 0.45, 0.05), 0.96, CELL, 1.0),
    ],
)
def test_the_deepest_term_that_is_probable_enough(tree, probability, threshold, term, sum_):
    chosen, found = tree.roll_up(np.array([probability]), threshold)
    assert tree.terms[chosen[0]] == term and found[0] == pytest.approx(sum_)


def test_classes_of_one_term_share_it():
    parents = {CELL: (), "glia": (CELL,)}
    ontology = Ontology("", {name: name for name in parents}, parents, dict.fromkeys(parents, ()), {CELL: 2, "glia": 1})
    tree = term_tree(["glia", "glia", CELL], ontology)
    assert tree.terms.tolist() == ["glia", CELL] and tree.covers[:, 0].tolist() == [True, True, False]


def test_cell_stands_once_where_it_is_a_class_beside_a_tissue():
    parents = {CELL: (), "glia": (CELL,), "fat body": ()}
    ontology = Ontology(
        "", {name: name for name in parents}, parents, dict.fromkeys(parents, ()), dict.fromkeys(parents, 1)
    )
    tree = term_tree(["glia", CELL, "fat body"], ontology)
    assert sorted(tree.terms) == sorted(["glia", "fat body", CELL]) and tree.terms[-1] == CELL
    assert tree.covers[:, -1].all()


def test_the_threshold_holds_the_precision_on_cells_not_learnt_from(tree):
    random = np.random.default_rng(0)
    truth = random.integers(3, size=4000)
    scores = random.normal(size=(4000, 3)) + 1.5 * np.eye(3)[truth]
    probability = np.exp(1.5 * scores) / np.exp(1.5 * scores).sum(1, keepdims=True)
    curve = precision_curve(tree, probability[:2000], truth[:2000])
    assert curve[0] < 0.9 < curve[-1]
    threshold = threshold_for(0.95, curve)
    chosen, _ = tree.roll_up(probability[2000:], threshold)
    assert tree.covers[truth[2000:], chosen].mean() == pytest.approx(0.95, abs=0.02)
    assert (tree.n_classes[chosen] == 1).mean() > 0.2
    assert threshold_for(1.1, curve) == 1.0 and threshold_for(0.0, curve) == THRESHOLDS[0]
