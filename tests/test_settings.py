"""A value set by hand wins over the environment, the environment over the default, and `override` undoes itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scflyformer._settings import Settings, platform_cache


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODELS", "CACHE", "REGISTRY"):
        monkeypatch.delenv(f"SCFLYFORMER_{name}", raising=False)
    settings = Settings()
    assert settings.model_folders == ()
    assert settings.cache_folder == platform_cache()
    assert settings.registry_file is None
    assert (settings.device, settings.dtype) == ("auto", "auto")


def test_environment_is_read_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    monkeypatch.setenv("SCFLYFORMER_MODELS", os.pathsep.join(["one", "", "two"]))
    monkeypatch.setenv("SCFLYFORMER_CACHE", "cache")
    monkeypatch.setenv("SCFLYFORMER_REGISTRY", "list.json")
    assert settings.model_folders == (Path("one"), Path("two"))
    assert settings.cache_folder == Path("cache")
    assert settings.registry_file == Path("list.json")


@pytest.mark.parametrize(
    ("platform", "variable", "tail"),
    [("linux", "XDG_CACHE_HOME", ()), ("win32", "LOCALAPPDATA", ()), ("darwin", "HOME", ("Library", "Caches"))],
)
def test_platform_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, tail) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert platform_cache() == tmp_path.joinpath(*tail, "scflyformer")


def test_override_undoes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCFLYFORMER_CACHE", "from-env")
    settings = Settings()
    settings.device = "cpu"
    with pytest.raises(RuntimeError), settings.override(device="cuda", cache_folder="here", model_folders="m") as inner:
        assert inner is settings
        assert (settings.device, settings.cache_folder, settings.model_folders) == ("cuda", Path("here"), (Path("m"),))
        raise RuntimeError
    assert (settings.device, settings.cache_folder, settings.model_folders) == ("cpu", Path("from-env"), ())
    settings.reset()
    assert settings.device == "auto"


def test_wrong_values_are_refused() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="device is 'gpu'; expected one of 'auto', 'cpu', 'cuda', 'mps'"):
        settings.device = "gpu"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="dtype is 'half'"), settings.override(device="cpu", dtype="half"):
        pass
    assert settings.device == "auto"
    with pytest.raises(AttributeError, match="no setting named 'devise'; settings are: model_folders"):
        settings.devise = "cpu"  # type: ignore[attr-defined]


def test_repr_names_every_setting() -> None:
    assert all(f"{name} = " in repr(Settings()) for name in Settings._names)


def test_auto_follows_the_settings() -> None:
    import torch

    from scflyformer import settings
    from scflyformer.network._device import pick_device, pick_dtype

    with settings.override(device="cpu", dtype="bfloat16"):
        assert pick_device("auto") == torch.device("cpu")
        assert pick_dtype("auto", torch.device("cpu")) == torch.bfloat16
        assert pick_dtype("float32", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
