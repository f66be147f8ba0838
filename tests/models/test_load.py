"""Passing proves: which model a name or path means follows the documented order and is never left to chance."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import scflyformer as sf
from scflyformer import models, settings
from scflyformer.models import ModelFetchError, ModelFolderError, ModelNameError
from scflyformer.models._folder import model_hash
from scflyformer.models._registry import checkout as source_tree

from .conftest import register


def changed(folder: Path) -> Path:
    """Give the model in ``folder`` another hash."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"note": "another"}))
    return folder


def test_name_from_the_wheel(bundled, cwd, warned):
    model = models.load("fly-tiny")
    assert (model.name, model.path) == ("fly-tiny", bundled)
    assert models.fetch("fly-tiny") == bundled
    assert warned == []


def test_folders_come_before_the_wheel(bundled, mirror, cwd, warned):
    copied = shutil.copytree(bundled, mirror / "fly-tiny")
    assert models.load("fly-tiny").path == copied
    assert models.fetch("fly-tiny") == copied
    assert warned == []  # the same model
    changed(copied)
    assert models.load("fly-tiny").path == copied
    assert len(warned) == 1
    assert str(copied) in warned[0] and models.load("fly-tiny").sha256[:12] in warned[0]


def test_shadowing_is_told_even_where_the_wheel_lacks_the_model(bundled, mirror, cwd, warned):
    shutil.move(bundled, mirror / "fly-tiny")
    assert models.load("fly-tiny").path == mirror / "fly-tiny"
    assert warned == []  # nothing to compare with
    register(bundled, "fly-tiny", model_sha256="0" * 64)
    models.load("fly-tiny")
    assert len(warned) == 1 and "the registered model of that name has hash 000000000000" in warned[0]


def test_the_checkout_comes_before_the_download(bundled, checkout, server, mirror, cwd, warned):
    address = server.entry | {"model_sha256": model_hash(checkout)}
    register(bundled, "fly", **address)
    assert models.load("fly").path == models.fetch("fly") == checkout
    assert models.load("fly-tiny").path == bundled  # what the wheel holds is taken from there
    copied = shutil.copytree(checkout, mirror / "fly")
    assert models.load("fly").path == copied
    assert (server.asked, warned) == (0, [])
    shutil.rmtree(copied)
    shutil.rmtree(checkout)
    fetched = models.load("fly")
    assert (server.asked, fetched.sha256) == (1, address["model_sha256"])


def test_a_wheel_may_hold_it_too(bundled, checkout, cwd, warned):
    """It comes before the checkout, and is held to its hash alike."""
    register(bundled, "fly", model_sha256=model_hash(checkout))
    inside = shutil.copytree(checkout, bundled.parent / "fly")
    assert models.load("fly").path == inside
    assert models.list().set_index("name").loc["fly", "source"] == "wheel"
    changed(inside)
    assert models.load("fly").path == checkout
    assert len(warned) == 1 and f"{inside} is not used" in warned[0]


@pytest.mark.parametrize("spoil", ["changed", "incomplete", "empty"])
def test_a_checkout_with_other_weights_is_told_and_not_used(bundled, checkout, server, cache, cwd, warned, spoil):
    register(bundled, "fly", **server.entry, model_sha256=model_hash(checkout))
    if spoil == "changed":
        changed(checkout)
    for file in {"incomplete": ["vocab.tsv"], "empty": os.listdir(checkout)}.get(spoil, []):
        (checkout / file).unlink()
    assert models.load("fly").path.parent == cache
    assert server.asked == 1
    assert len(warned) == 1 and f"{checkout} is not used" in warned[0]


def test_a_checkout_whose_hash_is_not_registered_is_not_used(checkout, cwd, warned):
    with pytest.raises(ModelNameError, match=r"is not released yet"):
        models.load("fly")
    assert len(warned) == 1 and "that of the registered model 'fly' is None" in warned[0]
    assert models.load(checkout).path == checkout


@pytest.mark.parametrize("project", [None, '[project]\nname = "another"\n'])
def test_an_installed_package_has_no_checkout(bundled, checkout, cwd, warned, project):
    register(bundled, "fly", model_sha256=model_hash(checkout))
    assert models.load("fly").path == checkout
    file = checkout.parents[1] / "pyproject.toml"
    file.unlink() if project is None else file.write_text(project)
    with pytest.raises(ModelNameError, match=r"is not released yet"):
        models.load("fly")
    assert warned == []


def test_these_tests_run_from_a_checkout():
    assert source_tree() == Path(__file__).parents[2] / "models"


def test_the_default_where_it_cannot_be_had(bundled, server, offline, cache, monkeypatch, cells, cwd):
    """The first call of someone without network: nothing else runs in its stead, and the message says what can."""
    register(bundled, "fly", **server.entry)
    with pytest.raises(ModelFetchError, match=r"the connection failed.*Without it, use model='fly-tiny'") as caught:
        sf.tl.embed(cells, model="fly")
    assert server.url not in str(caught.value) and "SCFLYFORMER_MODELS" in str(caught.value)
    register(bundled, "fly", url=server.url)
    server.answers = ["missing"]
    with pytest.raises(ModelFetchError, match=r"the release is not out yet.*use model='fly-tiny'.*SCFLYFORMER_MODELS"):
        sf.tl.embed(cells, model="fly")
    sf.tl.embed(cells, model="fly-tiny", gene_key="FBgn")
    assert "X_scflyformer" in cells.obsm


def test_folders_are_searched_in_order(tiny_model, tmp_path, monkeypatch, cwd):
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(tiny_model, second / "mine")
    first.mkdir()
    monkeypatch.setenv("SCFLYFORMER_MODELS", os.pathsep.join(map(str, (first, second))))
    assert models.load("mine").path == second / "mine"
    shutil.copytree(tiny_model, first / "mine")
    assert models.load("mine").path == first / "mine"
    with settings.override(model_folders=[second]):
        assert models.load("mine").path == second / "mine"


def test_the_first_found_runs_or_fails(tiny_model, tmp_path, monkeypatch, cwd):
    (tmp_path / "first" / "mine").mkdir(parents=True)
    shutil.copytree(tiny_model, tmp_path / "second" / "mine")
    monkeypatch.setenv("SCFLYFORMER_MODELS", os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")]))
    with pytest.raises(ModelFolderError, match=r"is empty"):
        models.load("mine")


def test_a_folder_that_is_not_mounted_is_told(bundled, tmp_path, monkeypatch, cwd, warned):
    monkeypatch.setenv("SCFLYFORMER_MODELS", str(tmp_path / "unmounted"))
    models.load("fly-tiny")
    assert len(warned) == 1 and "unmounted, which is not a folder" in warned[0]


def test_a_registered_name_never_means_a_folder_here(bundled, tiny_model, cwd, warned):
    shutil.copytree(tiny_model, cwd / "fly-tiny")
    assert models.load("fly-tiny").path == bundled
    assert len(warned) == 1 and "Say './fly-tiny' for that folder" in warned[0]
    assert models.load("./fly-tiny").path == cwd / "fly-tiny"
    assert models.load(Path("fly-tiny")).path == cwd / "fly-tiny"
    assert len(warned) == 1


def test_results_under_a_registered_name_are_no_concern(bundled, cwd, warned):
    (cwd / "fly-tiny").mkdir()
    (cwd / "fly-tiny" / "umap.png").write_text("")
    assert models.load("fly-tiny").path == bundled
    assert warned == []


def test_inside_a_mirror_there_is_one_folder(bundled, tiny_model, mirror, monkeypatch, warned):
    shutil.copytree(tiny_model, mirror / "fly-tiny")
    shutil.copytree(tiny_model, mirror / "mine")
    monkeypatch.chdir(mirror)
    assert models.load("fly-tiny").path == mirror / "fly-tiny"
    assert models.load("mine").path == mirror / "mine"
    assert warned == []


def test_unregistered_names(tiny_model, cwd, mirror):
    here = shutil.copytree(tiny_model, cwd / "my-species-model")
    model = models.load("my-species-model")
    assert (model.path, model.name) == (here, "my-species-model")
    shutil.copytree(tiny_model, mirror / "my-species-model")
    with pytest.raises(ModelNameError, match=r"'my-species-model' means two models.*Say './my-species-model'"):
        models.load("my-species-model")
    assert models.load("./my-species-model").path == here
    shutil.rmtree(here)
    assert models.load("my-species-model").path == mirror / "my-species-model"


def test_paths(folder, monkeypatch):
    assert models.load(folder).path == folder
    assert models.load(str(folder)).path == folder
    assert models.load(f"{folder}/").path == folder
    monkeypatch.chdir(folder)
    assert models.load(".").path == folder
    assert models.load("../my-model").path.samefile(folder)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert models.load("~/my-model").path == folder
    with pytest.raises(ModelFolderError, match=r"There is no folder"):
        models.load("nowhere/at-all")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fly-tinny", r"No model is named 'fly-tinny'.*Did you mean 'fly-tiny'.*Registered: fly-tiny, fly"),
        ("FLY-TINY", "Did you mean 'fly-tiny'"),
        ("geneformer-v2", "Registered: fly-tiny, fly, lab-mirror. Give one of these names, or the path"),
        ("", "model is empty"),
    ],
)
def test_unknown_names(cwd, mirror, tiny_model, name, message):
    shutil.copytree(tiny_model, mirror / "lab-mirror")
    for call in (models.load, models.fetch):
        with pytest.raises(ModelNameError, match=message):
            call(name)


def test_unreleased(bundled, cwd, mirror, tiny_model):
    for call in (models.load, models.fetch):
        with pytest.raises(ModelNameError, match=r"'fly' is not released yet.* Use model='fly-tiny'"):
            call("fly")
    shutil.copytree(tiny_model, mirror / "fly")
    assert models.load("fly").path == mirror / "fly"


def test_an_installation_without_its_model(bundled, cwd):
    shutil.rmtree(bundled)
    with pytest.raises(ModelFolderError, match=r"Install scflyformer again"):
        models.load("fly-tiny")


def test_what_is_no_name_and_no_path(cwd):
    with pytest.raises(TypeError, match=r"model is 3; expected a name"):
        models.load(3)
    with pytest.raises(ModelNameError, match=r"is a path; expected a name"):
        models.fetch("./fly-tiny")
