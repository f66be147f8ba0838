"""Passing proves: what the script releases is what the downloader fetches, and its bytes do not depend on the day."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from scflyformer import models
from scflyformer.models import ModelFolderError
from scflyformer.models._folder import model_hash

SCRIPT = Path(__file__).parents[2] / "tools" / "release_model.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("release_model", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def release(script, bundled, tmp_path):
    """The script's function with the registry beside `bundled`."""

    def call(folder: Path, tag: str = "fly-1", repository: str | None = "https://git.example/lab/repo", out="dist"):
        return script.release(
            folder, tag, repository=repository, registry=bundled.parent / "registry.json", out=tmp_path / out
        )

    return call


def test_released_is_what_is_fetched(release, checkout, bundled, server, tmp_path, cache, cwd):
    (checkout / "checkpoints").mkdir()
    entry = release(checkout)
    archive = tmp_path / "dist" / "fly-1.zip"
    assert entry["url"] == "https://git.example/lab/repo/releases/download/fly-1/fly-1.zip"
    assert entry["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert entry["size"] == archive.stat().st_size
    assert json.loads((bundled.parent / "registry.json").read_text())["fly"] == entry
    assert models.load("fly").path == checkout
    sha256 = model_hash(checkout)
    for file in checkout.iterdir():
        os.utime(file, (0, 10**9))
        file.chmod(0o600 if file.is_file() else 0o700)
    assert release(checkout, out="later") == entry

    shutil.rmtree(checkout)
    server.body = archive.read_bytes()
    registry = bundled.parent / "registry.json"
    registry.write_text(registry.read_text().replace(entry["url"], server.url))
    fetched = models.load("fly")
    assert (fetched.path.parent, fetched.sha256) == (cache, sha256)
    assert "README.md" in os.listdir(fetched.path) and "checkpoints" not in os.listdir(fetched.path)


def test_without_a_repository(release, checkout, cwd):
    entry = release(checkout, repository=None)
    assert entry["url"] is None
    assert models.load("fly").path == checkout
    assert models.list().set_index("name").loc["fly", "source"] == "checkout"


def test_a_model_of_the_wheel_gets_its_hash_alone(release, bundled, tmp_path):
    entry = release(bundled)
    assert entry["model_sha256"] == model_hash(bundled)
    assert entry["url"] is None and not (tmp_path / "dist").exists()


def test_refusals(release, checkout, script, bundled, monkeypatch):
    before = (bundled.parent / "registry.json").read_text()
    other = shutil.copytree(checkout, checkout.parent / "other")
    with pytest.raises(SystemExit, match=r"lists no 'other'"):
        release(other)
    monkeypatch.setattr(script, "LIMIT", 1000)
    with pytest.raises(SystemExit, match=r"at most 1,000. Save the weights as float16"):
        release(checkout)
    (checkout / "README.md").unlink()
    with pytest.raises(ModelFolderError, match=r"lacks README.md"):
        release(checkout)
    assert (bundled.parent / "registry.json").read_text() == before
