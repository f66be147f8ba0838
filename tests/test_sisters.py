"""Functions that share a parameter share its name, its default and its place."""

from __future__ import annotations

import inspect
import re
from itertools import combinations

import pytest

import scflyformer as sf
from scflyformer._cli._options import describe

SISTERS = {
    name: inspect.signature(getattr(sf.tl, name)).parameters
    for name in (
        "embed",
        "annotate",
        "age_clock",
        "perturb",
        "clock_genes",
        "annotation_genes",
        "age_acceleration",
        "adapt",
    )
} | {"tokenize": inspect.signature(sf.pp.tokenize).parameters}
OWN_DEFAULT = {"key_added", "method", "clock", "classifier", "genes", "features"}
"""Parameters that say what the function does, and so have a default of its own."""
ORDERED = (
    ("sample_key", "groupby", "use_rep", "model"),
    ("seed", "layer", "gene_key", "mod", "key_added", "copy", "synonyms", "device", "dtype", "batch_tokens"),
)


@pytest.mark.parametrize(("one", "other"), list(combinations(SISTERS, 2)))
def test_shared_parameters_have_one_default(one, other):
    shared = (SISTERS[one].keys() & SISTERS[other].keys()) - OWN_DEFAULT
    for name in shared:
        assert SISTERS[one][name].default == SISTERS[other][name].default, name


@pytest.mark.parametrize("function", list(SISTERS))
@pytest.mark.parametrize("order", ORDERED)
def test_shared_parameters_stand_in_one_order(function, order):
    assert [name for name in SISTERS[function] if name in order] == [n for n in order if n in SISTERS[function]]


@pytest.mark.parametrize("name", ["sample_key", "groupby", "model", "layer", "gene_key", "mod", "copy"])
def test_shared_parameters_are_described_alike(name):
    """In their first words, behind which a function says what it does with them."""
    functions = [getattr(sf.tl, function) for function in SISTERS if function != "tokenize"]
    said = [describe(function)[1].get(name) for function in (*functions, sf.tl.pretrain, sf.pp.tokenize)]
    starts = {re.split(r"[.,;:(]", text)[0].strip() for text in said if text is not None}
    assert len(starts) == 1, starts
