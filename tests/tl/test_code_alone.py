"""Passing proves: cells embedded by the profile code alone are read so by every function, and BERT never runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from anndata import AnnData
from flat_options import pretrain

import scflyformer as sf

CODE = [36, 180]
"""Columns of the profile code in an embedding by fly-tiny."""


@pytest.fixture(scope="module")
def whole() -> AnnData:
    """Simulated cells, embedded by fly-tiny."""
    cells = sf.datasets.fly_brain_simulated(240)
    sf.tl.embed(cells, model="fly-tiny")
    return cells


@pytest.fixture
def cells(whole: AnnData, monkeypatch: pytest.MonkeyPatch) -> AnnData:
    """The same cells with the profile code alone, where BERT cannot run."""
    made = whole.copy()
    sf.tl.embed(made, model="fly-tiny", pooling="code")
    monkeypatch.setattr(sf.models.load("fly-tiny").network().bert, "forward", _fails)
    monkeypatch.setattr(sf.models.load("fly-tiny").network().bert.embeddings, "forward", _fails)
    return made


def _fails(*_, **__):
    raise AssertionError("BERT ran")


def test_it_is_the_code_of_the_whole_embedding(whole: AnnData, cells: AnnData) -> None:
    np.testing.assert_allclose(cells.obsm["X_scflyformer"], whole.obsm["X_scflyformer"][:, slice(*CODE)], atol=1e-5)
    assert cells.uns["X_scflyformer"]["parts"] == {"directions": [0, 111], "contrast": [112, 143]}
    assert cells.uns["X_scflyformer"]["params"]["pooling"] == "code"


def test_every_function_reads_it(cells: AnnData, tmp_path) -> None:
    """Also anew, in cells without an embedding, from a saved clock or classifier, and in edited cells."""
    sf.tl.age_clock(cells, baselines="none", n_splits=3, save=tmp_path / "clock")
    sf.tl.annotate(cells, label_key="cell_type", n_splits=3, baselines="none", save=tmp_path / "labels")
    new = sf.datasets.fly_brain_simulated(60)
    sf.tl.annotate(new, classifier=tmp_path / "labels")
    sf.tl.age_clock(new, clock=tmp_path / "clock")
    assert new.obs["age_clock"].notna().all()
    states = {"state_key": "age", "start": 30, "goal": 0, "n_null": 20, "max_cells": 20}
    for more in ({"genes": ["Hsp83"]}, {"genes": "all", "method": "screen"}):
        sf.tl.perturb(cells, readouts=[tmp_path / "clock"], **states | more)
        assert cells.uns["perturb"]["params"]["pooling"] == "code"


def test_a_clock_of_the_code_is_not_for_whole_embeddings(whole: AnnData, cells: AnnData, tmp_path) -> None:
    sf.tl.age_clock(cells, baselines="none", n_splits=3, save=tmp_path / "clock")
    states = {"state_key": "age", "start": 30, "goal": 0, "genes": ["Hsp83"], "n_null": 20, "max_cells": 20}
    with pytest.raises(
        ValueError, match="reads embeddings of pooling 'code', and these are 'cell'.*pass pooling='code'"
    ):
        sf.tl.perturb(whole.copy(), readouts=[tmp_path / "clock"], pooling="cell", **states)


def test_a_model_without_a_code(tmp_path, whole: AnnData) -> None:
    torch.manual_seed(0)
    pretrain(whole, out=tmp_path / "m", code_size=0, hidden_size=16, n_layers=1, n_heads=2, max_len=64, epochs=0.01)
    with pytest.raises(ValueError, match="needs a model with a profile code"):
        sf.tl.embed(whole.copy(), model=tmp_path / "m", pooling="code")
