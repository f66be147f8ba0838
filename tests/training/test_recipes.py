"""A recipe sets what the call does not, whatever the defaults are, and its columns are made where files lack them."""

from __future__ import annotations

import pickle
from dataclasses import asdict, fields

import numpy as np
import pytest

import scflyformer as sf
from scflyformer.training._options import PretrainOptions, given_options
from scflyformer.training._recipes import RECIPES, by_recipe

AFCA = RECIPES["afca"]


@by_recipe
def asked(source, **given):
    """Return what `tl.pretrain` would be called with."""
    return given


def test_options_remember_which_were_given():
    options = PretrainOptions(dropout=0.02, epochs=2)
    assert given_options(options) == {"dropout": 0.02, "epochs": 2}
    assert given_options(pickle.loads(pickle.dumps(options))) == given_options(options)
    assert given_options(None) == given_options(PretrainOptions()) == {}
    assert options == PretrainOptions(epochs=2), "what was given makes no difference by itself"
    assert set(asdict(options)) == {field.name for field in fields(PretrainOptions)}


def test_recipe_names_all_that_decides_the_model():
    left = {field.name for field in fields(PretrainOptions)} - given_options(AFCA.options).keys()
    assert left == {"feed_forward"}, "twice the width, whatever that is"
    assert AFCA.arguments["sample_key"] == "batch"


def test_without_a_recipe_nothing_is_set():
    assert asked("a", out="m") == {"out": "m"}
    assert asked("a", out="m", recipe=None) == {"out": "m", "recipe": None}


def test_recipe_sets_the_rest():
    assert asked("a", out="m", recipe="afca") == {
        "out": "m", "recipe": "afca", **AFCA.arguments, "options": AFCA.options,
    }  # fmt: skip


def test_what_is_given_wins():
    """Also where it is the default of `tl.pretrain`."""
    found = asked("a", recipe="afca", sample_key=None, options=PretrainOptions(dropout=0.02, epochs=1))
    assert found["sample_key"] is None and found["gene_key"] == "FBgn"
    changed = {name: value for name, value in asdict(found["options"]).items() if value != asdict(AFCA.options)[name]}
    assert changed == {"dropout": 0.02, "epochs": 1}


def test_unknown_recipe(tmp_path):
    with pytest.raises(ValueError, match="recipe='fca' is unknown; expected one of 'afca'"):
        sf.tl.pretrain("gone.h5ad", out=tmp_path / "m", recipe="fca")
    assert not list(tmp_path.iterdir())


def test_columns_are_made_where_a_source_lacks_them(make_source, describe):
    wanted = {"recipe": "afca", "sample_key": "batch", "gene_key": "FBgn"}
    adata = make_source(np.ones((4, 3)), ["Drak", "fz2", "unheard"], tissue=list("hhbb"), age=["5", "70"] * 2)
    before = list(adata.obs), list(adata.var)
    found = describe("atlas", adata, **wanted)
    assert found.samples.tolist() == ["atlas:h_5", "atlas:h_70", "atlas:b_5", "atlas:b_70"]
    assert found.gene_ids.tolist()[0] == "FBgn0052666" and found.gene_ids.tolist()[2] == "unheard"
    assert found.symbols.tolist() == ["Drak", "fz2", "unheard"]
    assert (list(adata.obs), list(adata.var)) == before, "the object is left as it was"
    adata.obs["batch"], adata.var["FBgn"] = ["x", "x", "y", "y"], ["FBgn1", "FBgn2", "FBgn3"]
    found = describe("atlas", adata, **wanted)
    assert found.samples.tolist() == ["atlas:x"] * 2 + ["atlas:y"] * 2 and found.gene_ids[0] == "FBgn1"
    with pytest.raises(KeyError, match="There is no library of each cell"):
        describe("bare", make_source(np.ones((2, 1)), ["Drak"]), **wanted)
    with pytest.raises(KeyError, match="gene_key"):
        describe("atlas", make_source(np.ones((2, 1)), ["Drak"], batch=["a", "b"]), gene_key="FBgn", sample_key="batch")
