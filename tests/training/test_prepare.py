"""Passing proves: a process that does not see what the first one wrote says so, after it has waited for it."""

from __future__ import annotations

import pytest

from scflyformer.training import _prepare
from scflyformer.training._prepare import open_corpus


def test_a_folder_that_is_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(_prepare, "_SHARED_SECONDS", 0)
    with pytest.raises(FileNotFoundError, match=r"There is no .*run\.json; `out` must be a folder that all processes"):
        open_corpus(tmp_path, validation=0.1, seed=0)
