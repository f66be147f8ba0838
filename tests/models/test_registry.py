"""Passing proves: registry files are read strictly, and a laboratory's file adds models without changing any."""

from __future__ import annotations

import pytest

from scflyformer import settings
from scflyformer._settings import DEFAULT_MODEL
from scflyformer.models import RegistryError
from scflyformer.models._folder import model_hash
from scflyformer.models._registry import registered

HASH = "0" * 64
GOOD = {"url": "https://lab.example/model.zip", "sha256": HASH}


def test_shipped():
    entries = registered()
    assert list(entries) == ["fly-tiny", "fly"]
    assert entries[DEFAULT_MODEL].bundled
    assert not entries["fly"].released


def test_bundled_weights_are_those_registered():
    entry = registered()[DEFAULT_MODEL]
    if not entry.folder.is_dir():
        pytest.skip(f"this checkout has no {entry.folder}")
    assert entry.model_sha256 == model_hash(entry.folder), "registry.json must name the hash of the shipped model"


def test_a_laboratory_adds_models(add_registry):
    path = add_registry({"lab-model": GOOD, "fly": GOOD})
    entries = registered()
    assert entries["lab-model"].url == GOOD["url"]
    assert entries["fly"].released  # a mirror may offer what is not released yet
    with settings.override(registry_file=None):
        assert "lab-model" not in registered()
    with settings.override(registry_file=path):
        assert "lab-model" in registered()


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
