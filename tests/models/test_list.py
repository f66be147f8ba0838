"""Passing proves: the list tells, for every model, where it would come from, and fails for none of them."""

from __future__ import annotations

import shutil

import pytest

from scflyformer import models

from .conftest import register


def test_list(bundled, checkout, mirror, tiny_model, server):
    shutil.copytree(tiny_model, mirror / "mine")
    broken = shutil.copytree(tiny_model, mirror / "broken")
    (broken / "vocab.tsv").unlink()
    (mirror / "notes").mkdir()
    table = models.list()
    assert list(table) == ["name", "description", "species", "source", "path", "size", "sha256"]
    sources = dict(zip(table["name"], table["source"], strict=True))
    assert sources == {
        "fly-tiny": "wheel",
        "fly": "unreleased",
        "lab-model": "download",
        "broken": "broken",
        "mine": "folder",
    }
    table = table.set_index("name")
    assert table.loc["fly-tiny", "sha256"] == models.load("fly-tiny").sha256
    assert table.loc["lab-model", "size"] == len(server.body)
    assert table.loc["lab-model", "path"] == ""
    assert server.asked == 0
    path = models.fetch("lab-model")
    row = models.list().set_index("name").loc["lab-model"]
    assert (row["source"], row["path"]) == ("cache", str(path))
    register(bundled, "fly", model_sha256=row["sha256"])
    row = models.list().set_index("name").loc["fly"]
    assert (row["source"], row["path"]) == ("checkout", str(checkout))
    shutil.rmtree(bundled)
    assert models.list().set_index("name").loc["fly-tiny", "source"] == "missing"


@pytest.mark.parametrize("name", ["fetch", "list", "load"])
def test_public_names(name):
    assert name in models.__all__
    assert callable(getattr(models, name))
