"""A checkpoint gives back what was saved, to the call that saved it and to no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scflyformer.perturbation import _checkpoint
from scflyformer.perturbation._checkpoint import Checkpoint


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every block."""
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", -1.0)


def test_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "scan.npz"
    one = Checkpoint(file, "key")
    assert one.load() == (0, [])
    one.save(3, [np.arange(4.0), np.full((2, 2), np.nan)])
    done, arrays = Checkpoint(file, "key").load()
    assert done == 3
    np.testing.assert_array_equal(arrays[0], np.arange(4.0))
    np.testing.assert_array_equal(arrays[1], np.full((2, 2), np.nan))
    assert [path.name for path in tmp_path.iterdir()] == ["scan.npz"]


def test_another_call_and_another_file(tmp_path: Path) -> None:
    file = tmp_path / "scan.npz"
    Checkpoint(file, "key").save(1, [])
    with pytest.raises(ValueError, match="beginning of another scan.*Name another file"):
        Checkpoint(file, "other").load()
    file.write_text("notes")
    with pytest.raises(ValueError, match="no checkpoint of a scan"):
        Checkpoint(file, "key").load()


def test_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checkpoint, "EVERY_SECONDS", 1000.0)
    Checkpoint(tmp_path / "scan.npz", "key").save(1, [])
    assert not list(tmp_path.iterdir())
