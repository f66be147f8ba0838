"""Messages and bars follow `scanpy.settings.verbosity`."""

from __future__ import annotations

import pytest
import scanpy as sc

from scflyformer import _log


@pytest.fixture
def verbosity():
    before = sc.settings.verbosity
    yield lambda level: setattr(sc.settings, "verbosity", level)
    sc.settings.verbosity = before


@pytest.mark.parametrize(("level", "said"), [(0, ""), (1, "w"), (2, "wi"), (3, "wih")])
def test_messages(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, verbosity, level: int, said: str
) -> None:
    verbosity(level)
    heard = []
    for name in ("warning", "info", "hint"):
        monkeypatch.setattr(sc.logging, name, _spy(getattr(sc.logging, name), heard, name))
    _log.warning("w")
    _log.info("i")
    _log.hint("h")
    assert heard == ["warning", "info", "hint"]
    assert _log.verbosity() == level


def _spy(original, heard, name):
    def call(message):
        heard.append(name)
        return original(message)

    return call


@pytest.mark.parametrize(("level", "shown"), [(0, False), (1, True)])
def test_progress_bar(capsys: pytest.CaptureFixture, verbosity, level: int, shown: bool) -> None:
    verbosity(level)
    assert list(_log.progress(range(3), desc="cells")) == [0, 1, 2]
    assert ("cells" in capsys.readouterr().err) == shown


def test_progress_bar_moved_by_hand(capsys: pytest.CaptureFixture, verbosity) -> None:
    verbosity(1)
    with _log.progress(total=2, desc="steps") as bar:
        bar.update(2)
        assert bar.n == 2
    assert "steps" in capsys.readouterr().err


def test_bar_that_says_what_is_at_work(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, verbosity
) -> None:
    verbosity(1)
    monkeypatch.setattr(_log, "_is_watched", lambda: True)
    seen = []
    for item in _log.each(["a", "b"], desc=lambda name: f"clock: {name}"):
        seen.append(capsys.readouterr().err)
        assert f"clock: {item}" in seen[-1]
    assert len(seen) == 2
    assert list(_log.each([], desc=str)) == []


def test_hidden_bar(capsys: pytest.CaptureFixture, verbosity) -> None:
    verbosity(3)
    assert list(_log.progress([1], shown=False)) == [1]
    assert capsys.readouterr().err == ""


def test_broken_display_gives_way_to_text(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, verbosity
) -> None:
    def broken(*args, **kwargs):
        raise ImportError("IProgress not found")

    verbosity(1)
    monkeypatch.setattr("tqdm.auto.tqdm", broken)
    assert list(_log.progress([1, 2])) == [1, 2]
    assert "0/2" in capsys.readouterr().err
