"""A value set by hand wins over the environment, the environment over the default, and `override` undoes itself."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import scflyformer as sf
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


def _embed(cells, model, **asked):
    sf.tl.embed(cells, model=model, **asked)
    return cells.uns["X_scflyformer"]["params"]


@pytest.mark.parametrize(("name", "value"), [("dtype", "bfloat16"), ("device", "cpu"), ("batch_tokens", 64)])
def test_arguments_that_became_settings_still_work(cells, tiny_model, name, value):
    with pytest.warns(
        FutureWarning, match=rf"tl\.embed\({name}=\.\.\.\) is deprecated.*sf\.settings\.{name} = {value!r}"
    ):
        asked = _embed(cells.copy(), tiny_model, **{name: value})
    with sf.settings.override(**{name: value}):
        assert _embed(cells.copy(), tiny_model) == asked
    if name in asked:
        assert asked[name] == value


def test_a_synonym_file_is_a_setting(cells, tiny_model, tmp_path):
    """Of a call, with a warning, or of the settings: also for a function that never took one."""
    cells.var_names = [f"other{n}" for n in range(cells.n_vars)]
    cells.var = cells.var[[]]
    (tmp_path / "names.tsv").write_text("".join(f"other{n}\tFBgn99{n + 1:05d}\n" for n in range(40)))
    with pytest.warns(FutureWarning, match=r"tl\.embed\(synonyms=\.\.\.\) is deprecated"):
        sf.tl.embed(cells, model=tiny_model, synonyms=tmp_path / "names.tsv")
    with sf.settings.override(synonyms=tmp_path / "names.tsv"):
        other = sf.tl.embed(cells, model=tiny_model, key_added="other", copy=True)
        sf.tl.age_clock(other, age_key="age", sample_key="batch", model=tiny_model, use_rep="other", baselines="none")
    np.testing.assert_array_equal(other.obsm["other"], cells.obsm["X_scflyformer"])
    assert other.uns["other"]["coverage"]["n_genes_mapped"] == 40


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("batch_tokens", 0, "batch_tokens=0 must be 'auto' or a whole number"),
        ("synonyms", 3, "synonyms is 3; expected a file"),
    ],
)
def test_what_cannot_be_set(name, value, said):
    with pytest.raises(ValueError, match=said):
        setattr(sf.settings, name, value)


def test_a_synonym_file_that_is_not_there(cells, tiny_model):
    with (
        sf.settings.override(synonyms="gone.tsv"),
        pytest.raises(FileNotFoundError, match=r"No synonym file at gone\.tsv"),
    ):
        sf.tl.embed(cells, model=tiny_model)
    assert not cells.obsm
