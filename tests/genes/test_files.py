"""Files of FlyBase are fetched once, and the error offline says what to do instead."""

from __future__ import annotations

import gzip

import pytest

from scflyformer.genes._files import fetch_flybase, opened

NOWHERE = "http://127.0.0.1:9/FB2025_01/names.tsv.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFLYFORMER_CACHE", str(tmp_path))
    return tmp_path


def test_offline(cache):
    with pytest.raises(ConnectionError, match=r"names\.tsv\.gz.* pass its path as `orthologs`, or put it at") as caught:
        fetch_flybase(NOWHERE, argument="orthologs")
    assert str(cache / "flybase" / "names.tsv.gz") in str(caught.value)


def test_what_lies_in_the_cache_is_not_fetched(cache):
    (cache / "flybase").mkdir()
    (cache / "flybase" / "names.tsv.gz").write_bytes(b"x")
    assert fetch_flybase(NOWHERE, argument="orthologs").read_bytes() == b"x"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_packed_or_not_whatever_the_name(cache, pack):
    (cache / "names").write_bytes(pack(b"a\tb\n"))
    with opened(cache / "names") as lines:
        assert list(lines) == ["a\tb\n"]
