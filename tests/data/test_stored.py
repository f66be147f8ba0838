"""What is not there is told with the call that makes it, and with the keys under which it has been written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scflyformer as sf

ROWS = pd.DataFrame({"group": ["all"]})
#: What tells the tools' results apart.
WRITTEN: dict[str, dict[str, Any]] = {
    "annotate": {"classes": ["a", "b"], "temperature": 1.0},
    "age_clock": {"results": ROWS, "predictions": ROWS, "params": {"age_key": "age"}},
    "perturb": {"results": ROWS, "cells": ROWS, "null": ROWS, "params": {"state_key": "age"}},
}
CALLS: dict[Callable[..., Any], tuple[str, str]] = {
    sf.get.annotation_df: ("annotate", "annotation"),
    sf.get.clock_df: ("age_clock", "age_clock"),
    sf.get.perturb_df: ("perturb", "perturb"),
    sf.pl.age_clock: ("age_clock", "age_clock"),
    sf.pl.clock_scores: ("age_clock", "age_clock"),
    sf.pl.perturb_shift: ("perturb", "perturb"),
    sf.pl.perturb_volcano: ("perturb", "perturb"),
}
each = pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.__module__}.{call.__name__}")


@pytest.fixture
def bare() -> ad.AnnData:
    """Three cells with a type and a map."""
    adata = ad.AnnData(np.ones((3, 2), np.float32))
    adata.obs["cell_type"] = pd.Categorical(["a", "b", "a"])
    adata.obsm["X_umap"] = np.zeros((3, 2))
    return adata


@each
def test_nothing_was_run(call: Callable[..., Any], bare: ad.AnnData) -> None:
    tool, key = CALLS[call]
    bare.uns["neighbors"] = {"params": {}}
    with pytest.raises(KeyError, match=rf"no '{key}' in adata\.uns\. Run sf\.tl\.{tool}\(adata, \.\.\.\) first"):
        call(bare)


@each
def test_written_under_another_key(call: Callable[..., Any], bare: ad.AnnData) -> None:
    """Only keys of the same tool are named."""
    tool, key = CALLS[call]
    bare.uns.update({f"x{number}": found for number, found in enumerate(WRITTEN.values())})
    mine = f"x{list(WRITTEN).index(tool)}"
    words = rf"there are: '{mine}'\. Pass key='{mine}', or run sf\.tl\.{tool}\(adata, \.\.\., key_added='{key}'\) first"
    with pytest.raises(KeyError, match=words):
        call(bare)


@each
def test_another_tool_wrote_there(call: Callable[..., Any], bare: ad.AnnData) -> None:
    tool, _ = CALLS[call]
    other = next(name for name in WRITTEN if name != tool)
    bare.uns["one"] = WRITTEN[other]
    with pytest.raises(KeyError, match=rf"uns\['one'\] holds no results of tl\.{tool} but of tl\.{other}\. Run sf\.tl"):
        call(bare, key="one")
    bare.uns["one"] = "words"
    bare.uns["two"] = WRITTEN[tool]
    with pytest.raises(KeyError, match=rf"holds no results of tl\.{tool}\. There are: 'two'\. Pass key='two'"):
        call(bare, key="one")


@pytest.mark.parametrize("call", [sf.pl.annotation, lambda adata: sf.pl.confusion(adata, truth="cell_type")])
def test_labels_that_are_not_in_obs(call: Callable[..., Any], bare: ad.AnnData) -> None:
    with pytest.raises(KeyError, match=r"no 'annotation' in adata\.obs.*Run sf\.tl\.annotate\(adata, \.\.\.\) first"):
        call(bare)
    bare.uns["mine"] = WRITTEN["annotate"]
    bare.obs["mine"] = bare.obs["cell_type"]
    with pytest.raises(KeyError, match=r"there are: 'mine'\. Run sf\.tl\.annotate.*or name another column by key="):
        call(bare)


def test_scores_that_are_not_in_obs(bare: ad.AnnData) -> None:
    words = r"no 'cell_type_score' in adata\.obs.*Run sf\.tl\.annotate\(adata, \.\.\., key_added='cell_type'\) first"
    with pytest.raises(KeyError, match=words):
        sf.pl.annotation(bare, key="cell_type")
