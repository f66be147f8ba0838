"""Answers in ontology terms: as broad as held-out cells say they must be."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.annotation._terms import ClassTerms
from scflyformer.ontology._roll_up import THRESHOLDS
from scflyformer.ontology._terms import CELL, fbbt

L1, L2, GAMMA = "FBbt:00003719", "FBbt:00003720", "FBbt:00049828"
MONOPOLAR = "FBbt:00003718"
TERMS = np.array([L1, L2, GAMMA], dtype=object)
SURE = np.array([[0.9, 0.05, 0.05], [0.5, 0.48, 0.02], [0.4, 0.2, 0.4]])


def rising(at: float) -> ClassTerms:
    """Return terms whose answers are right from this probability on."""
    return ClassTerms(TERMS, np.where(at <= THRESHOLDS, 1.0, 0.5))


def test_the_deepest_term_that_is_probable_enough() -> None:
    obs, uns = rising(0.8).answers(SURE, np.ones(3, dtype=bool), 0.95, "annotation")
    ids = list(obs["annotation_fbbt"])
    assert ids[:2] == [L1, MONOPOLAR]
    assert {L1, GAMMA} <= {term for term in TERMS if ids[2] in fbbt().ancestors(term)}
    assert list(obs["annotation_fbbt_name"])[1] == "lamina monopolar neuron"
    assert list(obs["annotation_level"])[:2] == [1, 2]
    assert uns["roll_up"]["threshold"] == pytest.approx(0.8)
    assert uns["terms"]["name"].tolist() == [fbbt().names[term] for term in TERMS]


def test_a_lower_precision_gives_deeper_answers() -> None:
    graded = ClassTerms(TERMS, THRESHOLDS)
    deep, broad = (graded.answers(SURE, np.ones(3, dtype=bool), at, "a")[0]["a_level"] for at in (0.4, 0.95))
    assert (deep <= broad).all() and (deep < broad).any()


def test_a_strange_cell_is_a_cell() -> None:
    obs, _ = rising(0.3).answers(SURE, np.array([True, False, True]), 0.95, "a")
    assert obs["a_fbbt"][1] == CELL and obs["a_level"][1] == 3
    assert obs["a_fbbt"][0] == L1


def test_a_precision_that_is_never_reached_gives_the_broadest_answer() -> None:
    never = ClassTerms(TERMS, np.full(len(THRESHOLDS), 0.5))
    obs, uns = never.answers(SURE, np.ones(3, dtype=bool), 0.95, "a")
    assert uns["roll_up"]["threshold"] == 1.0
    assert all({L1, L2, GAMMA} <= {t for t in TERMS if term in fbbt().ancestors(t)} or level == 1
               for term, level in zip(obs["a_fbbt"], obs["a_level"], strict=True))  # fmt: skip


def test_classes_that_are_ids_have_terms_and_others_none() -> None:
    truth = np.array([0, 1, 2])
    found = ClassTerms.of_ids(TERMS, SURE, truth)
    assert found is not None and found.precision.shape == THRESHOLDS.shape
    assert found.precision[-1] == 1.0  # at 0.99 all are rolled up to something right
    assert ClassTerms.of_ids(np.array(["L1", L2, GAMMA], dtype=object), SURE, truth) is None


def test_a_term_that_fbbt_lacks_is_named() -> None:
    newer = ClassTerms(np.array([L1, L2, "FBbt:99999999"], dtype=object), np.ones(len(THRESHOLDS)))
    with pytest.raises(ValueError, match=r"FBbt:99999999.*no such term.*newer scflyformer"):
        newer.answers(SURE, np.ones(3, dtype=bool), 0.95, "a")
