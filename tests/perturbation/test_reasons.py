"""Why genes are left out, by set and in words."""

from __future__ import annotations

import numpy as np

from scflyformer._words import some_names
from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.perturbation._gene_sets import GeneSet
from scflyformer.perturbation._reasons import MOST, reasons_in_words, reasons_unknown, reasons_unmeasured


def test_sets_that_were_not_measured() -> None:
    """A set without any measured gene is out; one with some is out where it has to be whole."""
    panel = np.array([True, False, True, False])
    sets = [GeneSet(name, tuple(N_SPECIAL + n for n in genes)) for name, genes in
            {"there": (0, 2), "part": (0, 1, 3), "gone": (1, 3)}.items()]  # fmt: skip
    assert reasons_unmeasured(sets, None, "var_names", whole=True) == {}
    assert list(reasons_unmeasured(sets, panel, "var_names", whole=False)) == ["gone"]
    whole = reasons_unmeasured(sets, panel, "var_names", whole=True)
    assert list(whole) == ["part", "gone"] and "2 of 3 genes not in var_names" in whole["part"]


def test_names_that_the_model_does_not_know(tiny_vocabulary) -> None:
    """A name in the data is spelt right; of one that is not, a near name is offered."""
    reasons = reasons_unknown(["stranger", "Tiny12"], tiny_vocabulary, {"stranger"}, "var_names")
    assert reasons["stranger"] == "not in the model's vocabulary"
    assert reasons["Tiny12"] == "neither in the model's vocabulary nor in var_names (did you mean 'tiny12'?)"


def test_reasons_in_words() -> None:
    assert reasons_in_words({}) == ""
    assert reasons_in_words({"a": "odd", "b": "not measured", "c": "odd"}) == "'a' and 'c' are odd; 'b' is not measured"
    many = reasons_in_words({f"g{n}": f"reason {n}" for n in range(MOST + 3)})
    assert many.count(";") == MOST and many.endswith("3 more reasons")
    assert some_names(list("abcd"), most=2) == "'a', 'b' and 2 more"
