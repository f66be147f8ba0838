"""The shipped table of FBbt."""

from __future__ import annotations

from scflyformer.ontology._terms import CELL, fbbt


def test_the_table_is_whole():
    ontology = fbbt()
    assert ontology.release == "2026-04-03" and len(ontology.names) == 27407
    assert {parent for parents in ontology.parents.values() for parent in parents} <= ontology.names.keys()
    assert ontology.names["FBbt:00006007"] == "outer photoreceptor cell"
    assert ontology.synonyms["FBbt:00006007"] == ("photoreceptor cell R1-6",)


def test_the_numbers_of_terms_below_are_those_of_the_parents():
    ontology = fbbt()
    eye = "FBbt:00006009"  # eye photoreceptor cell
    below = [term for term in ontology.names if eye in ontology.ancestors(term)]
    assert len(below) == ontology.n_below[eye] > 3 and "FBbt:00006007" in below


def test_cells_and_what_is_none():
    ontology = fbbt()
    assert ontology.is_cell("FBbt:00006007") and ontology.is_cell(CELL)
    assert not ontology.is_cell("FBbt:00005066")  # fat body
