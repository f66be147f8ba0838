"""Passing proves: registry files are read strictly, and a laboratory's file adds models without changing any."""

from __future__ import annotations

import pytest

from scflyformer import settings
from scflyformer._settings import DEFAULT_MODEL
from scflyformer.models import RegistryError
from scflyformer.models._folder import check_folder, model_hash
from scflyformer.models._registry import SHIPPED_MODEL, checkout, registered

from .conftest import register

HASH = "0" * 64
GOOD = {"url": "https://lab.example/model.zip", "sha256": HASH}


def test_shipped():
    entries = registered()
    assert list(entries) == ["fly-tiny", "fly"]
    assert DEFAULT_MODEL in entries
    assert entries[SHIPPED_MODEL].bundled


@pytest.mark.parametrize("name", ["fly-tiny", "fly"])
def test_weights_in_the_source_tree_are_those_registered(name):
    entry = registered()[name]
    folder = entry.folder if entry.bundled else checkout() / name
    if not folder.is_dir() and name != DEFAULT_MODEL:
        pytest.skip(f"this checkout has no {folder}")
    assert entry.model_sha256 == model_hash(folder), "run python -m tools.release_model on the folder"
    check_folder(folder)
    checkpoint = (folder / "model.safetensors").stat().st_size
    assert checkpoint <= (2_000_000 if entry.bundled else 25_000_000)


def test_a_laboratory_adds_models(bundled, add_registry):
    path = add_registry({"lab-model": GOOD, "fly": GOOD})
    entries = registered()
    assert entries["lab-model"].url == GOOD["url"]
    assert entries["fly"].released  # a mirror may offer what is not released yet
    with settings.override(registry_file=None):
        assert "lab-model" not in registered()
    with settings.override(registry_file=path):
        assert "lab-model" in registered()


def test_a_laboratory_may_offer_a_model_without_an_address_but_not_another(bundled, add_registry):
    register(bundled, "fly", model_sha256=HASH)
    add_registry({"fly": GOOD | {"model_sha256": HASH}})
    assert registered()["fly"].url == GOOD["url"]
    add_registry({"fly": GOOD})
    with pytest.raises(RegistryError, match=r"one name must mean one model"):
        registered()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "holds a list; expected an object of names"),
        ({"a/b": GOOD}, "a name is made of letters"),
        ({"..": GOOD}, "a name is made of letters"),
        ({"x": 3}, "got 3; expected an object"),
        ({"x": GOOD | {"sha": HASH}}, r"unknown field\(s\) sha; expected some of description"),
        ({"x": GOOD | {"size": "3 MB"}}, "size is '3 MB'; expected int"),
        ({"x": GOOD | {"bundled": True}}, "only the package's own models can be bundled"),
        ({"x": {"url": GOOD["url"]}}, "nothing is fetched unchecked"),
        ({"x": GOOD | {"url": "file:///model.zip"}}, "expected http:// or https://"),
        ({"x": GOOD | {"sha256": "abc"}}, "expected 64 lower-case hexadecimal digits"),
        ({"fly-tiny": GOOD}, "the package lists already; one name must mean one model"),
    ],
)
def test_bad_registry_files(add_registry, content, message):
    add_registry(content)
    with pytest.raises(RegistryError, match=message):
        registered()


def test_registry_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFLYFORMER_REGISTRY", str(tmp_path / "none.json"))
    with pytest.raises(RegistryError, match=r"cannot be read .*Correct SCFLYFORMER_REGISTRY"):
        registered()
