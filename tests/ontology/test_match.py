"""Labels become terms by id, name and synonym; what is doubtful is suggested and not applied."""

from __future__ import annotations

import pytest

from scflyformer.ontology._match import match_labels
from scflyformer.ontology._terms import fbbt


@pytest.mark.parametrize(
    ("label", "term", "how"),
    [
        ("outer photoreceptor cell", "FBbt:00006007", "name"),
        ("Outer_photoreceptor-cells", "FBbt:00006007", "name"),
        ("photoreceptor cell R1-6", "FBbt:00006007", "synonym"),
        ("FBbt_00006007", "FBbt:00006007", "id"),
        ("FBbt:00006007", "FBbt:00006007", "id"),
        ("cluster 17", "", "none"),
    ],
)
def test_how_a_label_is_found(label, term, how):
    (found,) = match_labels([label], fbbt())
    assert (found.term, found.how) == (term, how)


def test_what_is_given_wins_and_near_names_are_only_suggested():
    given, near = match_labels(["hemocyte", "outer photorecptor cell"], fbbt(), given={"hemocyte": "FBbt:00058143"})
    assert (given.term, given.how) == ("FBbt:00058143", "given")
    assert near.term == "" and near.how == "near" and "FBbt:00006007" in near.suggestions


def test_a_synonym_of_several_terms_matches_none():
    seen: dict[str, set[str]] = {}
    ontology = fbbt()
    for term, words in ontology.synonyms.items():
        for word in words:
            seen.setdefault(word, set()).add(term)
    names = {name.lower() for name in ontology.names.values()}
    word = next(word for word, terms in sorted(seen.items()) if len(terms) > 1 and word.lower() not in names)
    (found,) = match_labels([word], ontology)
    assert (found.term, found.how) == ("", "ambiguous") and set(found.suggestions) >= seen[word]
