"""Readouts that ship: complete, small, without pickles, and bound to the model that they read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import scflyformer as sf
from scflyformer.annotation._saved import FILE, load_classifier
from scflyformer.models import _shipped
from scflyformer.models._manifest import FILE as CELLS
from scflyformer.ontology._terms import fbbt

NAMES = _shipped.shipped_readouts(FILE)


def test_the_classifiers_that_are_named_in_the_documentation_ship() -> None:
    assert {"fly-head", "fly-body", "fly-brain", "fly-atlas"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_whole_and_its_terms_are_known(name: str) -> None:
    classifier, report = load_classifier(name)
    assert classifier.known_model.name == "fly" and classifier.known_model.pooling == "code"
    assert report.model_sha256 == classifier.known_model.sha256
    assert report.terms is not None and set(report.terms.terms) <= set(fbbt().names)
    assert (np.diff(report.terms.precision) > -0.02).all()  # a higher threshold is not much less precise
    assert set(path.name for path in (_shipped.FOLDER / name).iterdir()) == {
        FILE, _shipped.TENSORS, CELLS, "README.md"
    }  # fmt: skip
    assert sum(path.stat().st_size for path in (_shipped.FOLDER / name).iterdir()) < 2_000_000


def test_another_model_of_the_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(_shipped.FOLDER / "fly-brain", tmp_path / "fly-brain")
    labels = tmp_path / "fly-brain" / FILE
    labels.write_text(json.dumps(json.loads(labels.read_text()) | {"model_sha256": "0" * 64}))
    monkeypatch.setattr(_shipped, "FOLDER", tmp_path)
    with pytest.raises(sf.models.ModelFolderError, match="'fly-brain' reads the model 'fly' with hash 000000000000"):
        load_classifier("fly-brain")


def test_a_misspelt_name_lists_those_that_ship() -> None:
    with pytest.raises(ValueError, match=r"'fly-atlas', 'fly-body', 'fly-brain', 'fly-head'.*fly-haed"):
        load_classifier("fly-haed")
