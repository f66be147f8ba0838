"""The tools say where cells were among those that a classifier, a clock or a model has learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import scflyformer as sf
from scflyformer.data import _seen
from scflyformer.models import _shipped
from scflyformer.models._manifest import FILE, Manifest


@pytest.fixture(scope="module")
def brain():
    return sf.datasets.fly_brain_simulated(300)


@pytest.fixture(scope="module")
def others():
    return sf.datasets.fly_brain_simulated(150, seed=3)


@pytest.fixture(scope="module")
def saved(brain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier and a clock of the labelled cells, of which every third has no label and no age."""
    folder, cells = tmp_path_factory.mktemp("saved"), brain.copy()
    cells.obs["cell_type"] = cells.obs["cell_type"].astype(object)
    cells.obs.loc[cells.obs_names[::3], ["cell_type", "age"]] = np.nan
    sf.tl.embed(cells, model="fly-tiny", pooling="code")
    sf.tl.annotate(cells, label_key="cell_type", baselines="none", save=folder / "types")
    sf.tl.age_clock(cells, sample_key="batch", baselines="none", save=folder / "clock")
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What is logged, by level."""
    found: dict[str, list[str]] = {"warning": [], "info": []}
    for level, messages in found.items():
        monkeypatch.setattr(f"scflyformer._log.{level}", messages.append)
    return found


def seen_in(messages: list[str], name: str) -> list[str]:
    return [message for message in messages if f"{name!r} has learnt from" in message]


@pytest.mark.parametrize("kind", ["types", "clock"])
def test_a_saved_one_lists_the_cells_with_labels_alone(saved: Path, kind: str) -> None:
    manifest = Manifest.read(saved / kind, sf.models.load("fly-tiny").vocabulary.n_genes)
    assert manifest is not None and (manifest.sets[-1].n_cells, len(manifest.sets)) == (200, 9)


@pytest.mark.parametrize(("kind", "tool"), [("types", sf.tl.annotate), ("clock", sf.tl.age_clock)])
def test_a_saved_one_warns_of_its_own_cells(brain, others, saved: Path, said, kind: str, tool) -> None:
    option = {"types": "classifier", "clock": "clock"}[kind]
    key = {"types": "annotation", "clock": "age_clock"}[kind]
    for cells, share in ((brain, 2 / 3), (others, 0)):
        here = cells.copy()
        said["warning"].clear()
        tool(here, **{option: saved / kind})
        assert here.uns[key]["params"]["training_seen"] == pytest.approx(share, abs=0.01)
        assert len(seen_in(said["warning"], str(saved / kind))) == (share > 0)


def test_one_that_ships_warns_too(brain, others, said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(_shipped.FOLDER, tmp_path / "readouts")
    monkeypatch.setattr(_shipped, "FOLDER", tmp_path / "readouts")
    sf.tl.annotate(others.copy(), classifier="fly-brain")
    assert not seen_in(said["warning"], "fly-brain")
    from scflyformer.data._reading import AS_IT_IS
    from scflyformer.data._training_cells import UsedCells

    model = sf.models.load("fly")
    new = Manifest.new(model.vocabulary)
    used = UsedCells(brain, np.ones(brain.n_obs, dtype=bool), AS_IT_IS)
    found = used.as_set(new, model.vocabulary, name="here", use="labels")
    assert found is not None
    new.add([found]).write(tmp_path / "readouts" / "fly-brain")
    cells = brain.copy()
    sf.tl.annotate(cells, classifier="fly-brain")
    (message,) = seen_in(said["warning"], "fly-brain")
    assert "100% of these cells, with their labels" in message
    assert cells.uns["annotation"]["params"]["training_seen"] == 1


def test_cells_of_the_pretraining_are_noted_without_a_warning(brain, said, tmp_path: Path) -> None:
    sf.tl.adapt(brain, model="fly-tiny", out=tmp_path / "adapted")
    for name, share in ((tmp_path / "adapted", 1), ("fly-tiny", 0)):
        cells = brain.copy()
        said["info"].clear()
        sf.tl.embed(cells, model=name, pooling="code")
        sf.tl.annotate(cells, label_key="cell_type", sample_key="batch", baselines="none")
        sf.tl.age_clock(cells, sample_key="batch", baselines="none")
        for key in ("annotation", "age_clock"):
            assert cells.uns[key]["params"]["pretraining_seen"] == share
        assert sum("was trained on 100% of these cells, without labels" in each for each in said["info"]) == 2 * share
    assert not any("trained on" in message for message in said["warning"])


def test_of_many_cells_a_few_are_looked_at(brain, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    whole = _seen.compare
    monkeypatch.setattr(_seen, "compare", lambda adata, *more: looked_at.append(adata.n_obs) or whole(adata, *more))
    monkeypatch.setattr(_seen, "SAMPLE", 90)
    cells = brain.copy()
    sf.tl.annotate(cells, classifier=saved / "types")
    assert looked_at == [90] and 0.5 < cells.uns["annotation"]["params"]["training_seen"] < 0.8


def test_without_a_list_or_with_values_that_are_no_expression_nothing_is_said(
    brain, saved: Path, said, tmp_path: Path
) -> None:
    old = shutil.copytree(saved / "types", tmp_path / "types")
    (old / FILE).unlink()
    sf.tl.annotate(brain.copy(), classifier=old)
    cells = brain.copy()
    sf.tl.embed(cells, model="fly-tiny", pooling="code")
    cells.X = cells.X.toarray() - 1
    sf.tl.annotate(cells, label_key="cell_type", baselines="none", save=tmp_path / "scaled")
    assert not {"training_seen", "pretraining_seen"} & set(cells.uns["annotation"]["params"])
    assert not seen_in(said["warning"], str(old))
    manifest = Manifest.of_model(sf.models.load(tmp_path / "scaled"))
    assert manifest.unknown == ("classifier",) and len(manifest.sets) == 8
    assert json.loads((tmp_path / "scaled" / "labels.json").read_text())["classes"]
