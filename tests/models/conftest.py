"""A copy of the tiny model to spoil, registry files, and an HTTP server on the loopback interface that can fail."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder that a test may change."""
    return shutil.copytree(tiny_model, tmp_path / "given" / "my-model")


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Warnings that the package logs during the test."""
    said: list[str] = []
    monkeypatch.setattr("scflyformer._log.warning", said.append)
    return said


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    path = tmp_path / "cwd"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder named by SCFLYFORMER_MODELS."""
    path = tmp_path / "mirror"
    path.mkdir()
    monkeypatch.setenv("SCFLYFORMER_MODELS", str(path))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, not made yet."""
    path = tmp_path / "cache"
    monkeypatch.setenv("SCFLYFORMER_CACHE", str(path))
    return path


@pytest.fixture
def bundled(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the tiny model stand where the package keeps `fly-tiny`."""
    from scflyformer.models import _registry

    home = tmp_path / "source" / "src" / "scflyformer" / "models"
    path = shutil.copytree(tiny_model, home / "fly-tiny")
    shipped = json.loads(_registry._SHIPPED.read_text())
    for entry in shipped.values():
        entry |= dict.fromkeys(("url", "sha256", "size", "model_sha256"))
    (home / "registry.json").write_text(json.dumps(shipped))
    monkeypatch.setattr(_registry, "BUNDLED", home)
    monkeypatch.setattr(_registry, "_SHIPPED", home / "registry.json")
    return path


@pytest.fixture
def checkout(bundled: Path) -> Path:
    """A model `fly` in the source tree that `bundled` stands in; the registry does not know its hash yet."""
    root = bundled.parents[3]
    (root / "pyproject.toml").write_text('[project]\nname = "scflyformer"\n')
    return shutil.copytree(bundled, root / "models" / "fly")


def register(bundled: Path, name: str, **fields: object) -> None:
    """Change an entry of the registry beside `bundled`."""
    file = bundled.parent / "registry.json"
    entries = json.loads(file.read_text())
    entries[name] |= fields
    file.write_text(json.dumps(entries))


@pytest.fixture
def add_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that writes a laboratory's registry file and names it by SCFLYFORMER_REGISTRY."""

    def write(content: object) -> Path:
        path = tmp_path / "lab.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        monkeypatch.setenv("SCFLYFORMER_REGISTRY", str(path))
        return path

    return write


def zipped(folder: Path, *, inside: str = "") -> bytes:
    """A zip archive of a folder's files, under the name `inside` where one is given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.writestr(f"{inside}/{file.name}" if inside else file.name, file.read_bytes())
    return buffer.getvalue()


class Server:
    """Serves `body` on 127.0.0.1; each request takes the next of `answers`, the last one over and over.

    An answer is "ok", "cut" (half the body, then the connection ends), "short" (half the body with no length told)
    or "missing" (404).
    """

    def __init__(self, body: bytes) -> None:
        self.body, self.answers, self.asked = body, ["ok"], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answers[min(outer.asked, len(outer.answers) - 1)]
                outer.asked += 1
                if answer == "missing":
                    self.send_error(404)
                    return
                half = outer.body[: len(outer.body) // 2]
                self.send_response(200)
                if answer != "short":
                    self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body if answer == "ok" else half)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/lab-model.zip"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(tiny_model: Path, cache: Path, add_registry, monkeypatch: pytest.MonkeyPatch):
    """A server of the registered model `lab-model`; waits between attempts are left out."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda _: None)
    server = Server(zipped(tiny_model, inside="lab-model"))
    server.entry = {"url": server.url, "sha256": hashlib.sha256(server.body).hexdigest(), "size": len(server.body)}
    add_registry({"lab-model": server.entry})
    yield server
    server.close()


@pytest.fixture
def offline(server: Server, add_registry) -> str:
    """Let the registered address be one where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server.entry["url"] = f"http://127.0.0.1:{port}/lab-model.zip"
    add_registry({"lab-model": server.entry})
    return server.entry["url"]
