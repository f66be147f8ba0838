"""Passing proves: a fetched model is the registered one or none, and no failure leaves anything in the cache.

All traffic stays on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scflyformer import models
from scflyformer.models import ModelFetchError, ModelFolderError
from scflyformer.models._fetch import RETRIES

from .conftest import zipped


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_success(server, cache, tiny_model, cwd):
    path = models.fetch("lab-model")
    assert path == cache / f"lab-model-{server.entry['sha256'][:12]}"
    assert files(cache) == [path.name]
    model = models.load("lab-model")
    assert (model.name, model.path) == ("lab-model", path)
    assert model.sha256 == models.load(tiny_model).sha256
    model.network()
    assert server.asked == 1  # the cache answers from then on


def test_folders_come_before_the_download(server, mirror, tiny_model, cwd):
    shutil.copytree(tiny_model, mirror / "lab-model")
    assert models.load("lab-model").path == mirror / "lab-model"
    assert server.asked == 0


def test_archive_without_a_folder_inside(server, add_registry, tiny_model):
    server.body = zipped(tiny_model)
    add_registry({"lab-model": {"url": server.url, "sha256": hashlib.sha256(server.body).hexdigest()}})
    assert (models.fetch("lab-model") / "config.json").is_file()


def test_wrong_hash(server, cache):
    right, server.body = server.body, server.body + b"changed"
    got = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(
        ModelFetchError, match=f"its sha256 is {got}, expected {server.entry['sha256']}. It was removed"
    ):
        models.fetch("lab-model")
    assert files(cache) == []
    server.body = right
    models.fetch("lab-model")


@pytest.mark.parametrize(("answer", "said"), [("cut", "broke off"), ("short", r"only [\d,]+ of [\d,]+ bytes came")])
def test_interrupted(server, cache, answer, said):
    server.answers = [answer]
    with pytest.raises(ModelFetchError, match=said):
        models.fetch("lab-model")
    assert server.asked == RETRIES + 1
    assert files(cache) == []
    server.answers = ["ok"]
    assert models.load("lab-model").hidden_size == 32


def test_stopped_by_the_user(server, cache, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("requests.Response.iter_content", stop)
        with pytest.raises(KeyboardInterrupt):
            models.fetch("lab-model")
    assert files(cache) == []
    models.fetch("lab-model")


def test_retry_then_success(server, cache):
    server.answers = ["cut", "ok"]
    models.fetch("lab-model")
    assert server.asked == 2


def test_missing_on_the_server(server, cache):
    server.answers = ["missing"]
    with pytest.raises(
        ModelFetchError, match=r"the release is not out yet, or was withdrawn .404.*use model='fly-tiny'"
    ):
        models.fetch("lab-model")
    assert files(cache) == []


def test_offline_says_what_to_copy_where(offline, server, cache, mirror, tiny_model, cwd):
    with pytest.raises(ModelFetchError, match=r"the connection failed") as caught:
        models.load("lab-model")
    message = str(caught.value)
    assert offline in message and server.entry["sha256"] in message and "SCFLYFORMER_MODELS" in message
    assert files(cache) == []
    # doing what it says works, either way
    archive = Path(re.search(r"copy the file to (\S+)", message)[1])
    archive.write_bytes(server.body)
    assert models.load("lab-model").path.parent == cache
    assert archive.exists()  # theirs to remove
    shutil.rmtree(cache)
    shutil.copytree(tiny_model, mirror / "lab-model")
    assert models.load("lab-model").path == mirror / "lab-model"


def test_a_wrong_file_brought_by_hand(server, cache, warned):
    cache.mkdir()
    archive = cache / f"lab-model-{server.entry['sha256'][:12]}.zip"
    archive.write_bytes(b"half")
    models.fetch("lab-model")
    assert server.asked == 1
    assert len(warned) == 1 and "it is not used" in warned[0]


def test_a_damaged_cache_is_fetched_again(server, cache, warned):
    path = models.fetch("lab-model")
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert models.load("lab-model").hidden_size == 32
    assert server.asked == 2
    assert len(warned) == 1 and "damaged" in warned[0]
    assert files(cache) == [path.name]


def test_the_models_own_hash_is_checked(server, add_registry, cache, tiny_model, warned, cwd):
    add_registry({"lab-model": server.entry | {"model_sha256": "0" * 64}})
    with pytest.raises(ModelFetchError, match=r"Correct the registry"):
        models.fetch("lab-model")
    assert files(cache) == []
    add_registry({"lab-model": server.entry | {"model_sha256": models.load(tiny_model).sha256}})
    path = models.fetch("lab-model")
    config = path / "config.json"
    config.write_text(config.read_text() + "\n")
    models.load("lab-model")
    assert len(warned) == 1 and "Was it changed by hand?" in warned[0]


def archive_with(name: str, *, link: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo(name)
        if link:
            member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (archive_with("../evil"), "'../evil' leads out of the folder"),
        (archive_with("/evil"), "leads out of the folder"),
        (archive_with("a/../../evil"), "leads out of the folder"),
        (archive_with("C:evil"), "leads out of the folder"),
        (archive_with("model.safetensors", link=True), "leads out of the folder"),
        (b"no zip", "is no zip archive of a model folder"),
        (archive_with("./"), "it holds 0 folders with a config.json"),
        (archive_with("readme.txt"), "it holds 0 folders with a config.json"),
        (archive_with("config.json"), "is no zip archive of a model folder"),
    ],
)
def test_archives_that_are_refused(server, add_registry, cache, tmp_path, body, message):
    server.body = body
    add_registry({"lab-model": {"url": server.url, "sha256": hashlib.sha256(body).hexdigest()}})
    before = files(tmp_path)
    with pytest.raises(ModelFetchError, match=message):
        models.fetch("lab-model")
    assert files(cache) == []
    assert set(files(tmp_path)) - set(before) <= {"cache"}


def test_a_cache_that_cannot_be_written(server, cache):
    cache.write_text("a file")
    with pytest.raises(
        ModelFetchError, match=r"could not be written to the cache .* name another folder by SCFLYFORMER_C"
    ):
        models.fetch("lab-model")


def test_several_at_once(server, cache):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(models.fetch, ["lab-model"] * 4))
    assert len(set(paths)) == 1
    assert files(cache) == [paths[0].name]


def test_verbosity_governs_what_is_shown(server, cache, capfd):
    import pooch
    import scanpy as sc

    before, level = sc.settings.verbosity, pooch.get_logger().level
    try:
        sc.settings.verbosity = 0
        models.fetch("lab-model")
        assert capfd.readouterr() == ("", "")
        shutil.rmtree(cache)
        sc.settings.verbosity = 1
        models.fetch("lab-model")
        assert "fetching lab-model" in capfd.readouterr().err
    finally:
        sc.settings.verbosity = before
    assert pooch.get_logger().level == level


def test_another_process_is_faster(tiny_model: Path, tmp_path: Path) -> None:
    """Between the look and the step somebody else has put the model there: it is taken; anything else is an error."""
    from scflyformer.models import _fetch

    class Beaten:
        def __init__(self, found: Path) -> None:
            self.found = found

        def rename(self, target: Path) -> None:
            shutil.copytree(self.found, target)
            raise OSError(39, "Directory not empty")

    target = tmp_path / "model"
    _fetch._move_to_cache(Beaten(tiny_model), target, aside=tmp_path / "aside")  # type: ignore[arg-type]
    assert (target / "config.json").is_file()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError):
        _fetch._move_to_cache(Beaten(tmp_path / "empty"), tmp_path / "other", aside=tmp_path / "aside")  # type: ignore[arg-type]
