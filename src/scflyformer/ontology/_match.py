"""Names of cell types in the words of a lab become terms of an ontology; nothing is guessed silently."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from scflyformer.ontology._terms import Ontology

_CLOSE = 0.85
"""Least similarity (difflib) of a name that is suggested."""
_SHORT = 3
"""Letters of labels, such as T1, for which nothing is suggested."""


@dataclass(frozen=True)
class Match:
    """The term of a label, ``""`` where there is none; ``how`` it was found, and terms that come near."""

    label: str
    term: str
    how: str
    suggestions: tuple[str, ...] = ()


def match_labels(labels: Iterable[str], ontology: Ontology, *, given: Mapping[str, str] | None = None) -> list[Match]:
    """Match each label by what was given for it, as an id, a name or a synonym; failing that, suggest near names.

    Names are compared without case, punctuation and the plural. A synonym of several terms matches none of them.
    """
    given = given or {}
    names, synonyms = _index(ontology)
    found = []
    for label in labels:
        key = _plain(label)
        if label in given:
            found.append(Match(label, given[label], "given"))
        elif (term := label.strip().replace("_", ":", 1)) in ontology.names:
            found.append(Match(label, term, "id"))
        elif len(terms := names.get(key, ())) == 1:
            found.append(Match(label, terms[0], "name"))
        elif len(terms) > 1:
            found.append(Match(label, "", "ambiguous", terms))
        elif len(terms := synonyms.get(key, ())) == 1:
            found.append(Match(label, terms[0], "synonym"))
        elif len(terms) > 1:
            found.append(Match(label, "", "ambiguous", terms))
        else:
            suggestions = tuple(term for name in _near(key, names) for term in names[name])
            found.append(Match(label, "", "near" if suggestions else "none", suggestions))
    return found


def _near(key: str, names: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return up to three plain names: those spelt alike, else the shortest that contain the words."""
    if len(key) <= _SHORT:
        return []
    alike = difflib.get_close_matches(key, names, n=3, cutoff=_CLOSE)
    return alike or sorted((name for name in names if f" {key} " in f" {name} "), key=len)[:3]


@cache
def _index(ontology: Ontology) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """Return terms by plain name and by plain synonym."""
    names: dict[str, list[str]] = defaultdict(list)
    synonyms: dict[str, list[str]] = defaultdict(list)
    for term, name in ontology.names.items():
        names[_plain(name)].append(term)
        for word in ontology.synonyms[term]:
            if term not in synonyms[_plain(word)]:
                synonyms[_plain(word)].append(term)
    return {k: tuple(v) for k, v in names.items()}, {k: tuple(v) for k, v in synonyms.items()}


def _plain(name: str) -> str:
    """Return a name without case, punctuation and the plural of its last word."""
    words = re.sub(r"[^a-z0-9']+", " ", name.lower()).strip()
    return words[:-1] if len(words) > 4 and words.endswith("s") and not words.endswith(("ss", "us", "is")) else words
