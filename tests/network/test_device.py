"""Passing proves: device and number type are those asked for, then the settings', then what the machine has."""

from __future__ import annotations

import pytest
import torch

from scflyformer._settings import settings
from scflyformer.network._device import pick_batch_tokens, pick_device, pick_dtype


@pytest.fixture
def machine(monkeypatch):
    """Return a function that says what the machine has."""

    def has(*, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return has


@pytest.mark.parametrize(
    ("has", "expected"),
    [({}, "cpu"), ({"mps": True}, "mps"), ({"cuda": True}, "cuda"), ({"cuda": True, "mps": True}, "cuda")],
)
def test_auto_takes_the_fastest(machine, has, expected):
    machine(**has)
    assert pick_device("auto") == torch.device(expected)


def test_the_call_wins_over_the_settings_and_they_over_auto(machine):
    machine(cuda=True)
    with settings.override(device="cpu", dtype="float16"):
        assert pick_device("auto") == torch.device("cpu")
        assert pick_device("cuda") == torch.device("cuda")
        assert pick_dtype("auto", torch.device("cuda")) == torch.float16
        assert pick_dtype("float32", torch.device("cuda")) == torch.float32
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "float32"), ("mps", "float32"), ("cuda", "bfloat16")])
def test_number_type_follows_the_device(device, dtype):
    assert pick_dtype("auto", torch.device(device)) == getattr(torch, dtype)


@pytest.mark.parametrize("device", ["gpu", "tpu", "CPU", "", "cuda0"])
def test_unknown_device(machine, device):
    machine(cuda=True)
    with pytest.raises(ValueError, match="is unknown; expected 'auto', 'cpu', 'cuda' or 'mps'"):
        pick_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there(machine, device):
    machine()
    with pytest.raises(ValueError, match=f"device='{device}' is not available to this torch build; use 'auto'"):
        pick_device(device)


@pytest.mark.parametrize("dtype", ["half", "float64", "int8", ""])
def test_unknown_number_type(dtype):
    with pytest.raises(ValueError, match=r"is unknown; expected 'auto' or one of \['bfloat16', 'float16', 'float32'\]"):
        pick_dtype(dtype, torch.device("cpu"))


@pytest.mark.parametrize(("asked", "device", "found"), [("auto", "cpu", 8192), ("auto", "cuda", 65536), (9, "cuda", 9)])
def test_tokens_a_batch(asked, device, found):
    assert pick_batch_tokens(asked, torch.device(device)) == found
