"""Passing proves: a whole model folder opens and anything else is refused with what was got, expected and to do."""

from __future__ import annotations

import json
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest

from scflyformer.models import Model, ModelFolderError
from scflyformer.models._folder import REQUIRED, open_folder


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_open(tiny_model, tiny_vocabulary):
    model = open_folder(tiny_model)
    assert isinstance(model, Model)
    assert (model.name, model.path, model.max_len, model.hidden_size) == ("tiny", tiny_model, 48, 32)
    assert model.provenance == {"note": "random weights"}
    np.testing.assert_array_equal(model.vocabulary.gene_ids, tiny_vocabulary.gene_ids)
    assert open_folder(tiny_model, name="other").name == "other"


def test_relative_paths_survive_a_change_of_folder(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(folder)
    model = open_folder(".")
    monkeypatch.chdir(tmp_path)
    assert model.name == "my-model"
    assert model.network().config.hidden_size == 32


def test_hash_is_what_a_shell_prints_and_changes_with_each_file_that_matters(folder):
    model = open_folder(folder)
    command = "sha256sum config.json model.safetensors vocab.tsv | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == model.sha256
    edit_json(folder / "metrics.json", loss=1)
    assert open_folder(folder).sha256 == model.sha256
    edit_json(folder / "config.json", note="changed")
    assert open_folder(folder).sha256 != model.sha256


def test_network_is_loaded_once_quietly_in_float32(tiny_model, capfd):
    import torch

    model = open_folder(tiny_model)
    network = model.network()
    assert network is model.network()
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert capfd.readouterr() == ("", "")


def test_plain_transformers_loads_the_encoder(tiny_model):
    import torch
    from transformers import BertModel

    encoder, info = BertModel.from_pretrained(tiny_model, add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    ours = open_folder(tiny_model).network().bert.state_dict()
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, ours[name]), name


def test_missing_file_and_empty(tmp_path):
    with pytest.raises(ModelFolderError, match=r"There is no folder .*nowhere; expected a model folder. Give"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match=r"is empty; expected config.json"):
        open_folder(tmp_path)
    (tmp_path / "model.zip").write_bytes(b"PK")
    with pytest.raises(ModelFolderError, match=r"is a file; expected a model folder. Unpack it"):
        open_folder(tmp_path / "model.zip")


@pytest.mark.parametrize("file", [name for name in REQUIRED if name not in ("config.json",)])
def test_incomplete(folder, file):
    (folder / file).unlink()
    with pytest.raises(ModelFolderError, match=f"incomplete model folder: it lacks {file}"):
        open_folder(folder)


def test_no_config_points_at_the_folder_inside(folder):
    with pytest.raises(ModelFolderError, match=r"no config.json, only my-model. Did you mean .*my-model\?"):
        open_folder(folder.parent)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.tsv", "config.json", "metrics.json", "provenance.json"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_truncated(folder, name, share):
    file = folder / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelFolderError, match=f"{name}.*Copy or fetch the folder again"):
        open_folder(folder)


def test_vocabulary_of_another_size(folder):
    lines = (folder / "vocab.tsv").read_text().splitlines(keepends=True)
    (folder / "vocab.tsv").write_text("".join(lines[:-1]))
    with pytest.raises(ModelFolderError, match=r"vocab.tsv has 62 tokens and config.json says vocab_size 63"):
        open_folder(folder)


def test_weights_of_another_model(folder):
    edit_json(folder / "config.json", hidden_size=64)
    with pytest.raises(ModelFolderError, match=r"of shape \(63, 32\); config.json calls for \(63, 64\)"):
        open_folder(folder)


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", 3), ("intermediate_size", 65)])
def test_weights_that_lack_parts_are_never_filled_with_random_numbers(folder, key, value):
    edit_json(folder / "config.json", **{key: value})
    model = open_folder(folder)
    with pytest.raises(ModelFolderError, match=r"Fetch or copy the folder again"):
        model.network()


@pytest.mark.parametrize("value", [None, 0, "63", 63.0, True])
def test_sizes_that_are_no_sizes(folder, value):
    edit_json(folder / "config.json", vocab_size=value)
    with pytest.raises(ModelFolderError, match=r"vocab_size is .*; expected a whole number above 0"):
        open_folder(folder)


def test_json_that_is_no_object(folder):
    (folder / "metrics.json").write_text("[1]")
    with pytest.raises(ModelFolderError, match=r"metrics.json holds a list; expected a JSON object"):
        open_folder(folder)


def test_folders_of_other_packages(folder):
    edit_json(folder / "config.json", model_type="gpt2")
    with pytest.raises(ModelFolderError, match=r"a model of type 'gpt2'; expected a 'bert' of scflyformer"):
        open_folder(folder)
    edit_json(folder / "config.json", model_type="bert", architectures=["BertForMaskedLM"])
    for name in ("vocab.tsv", "metrics.json", "provenance.json"):
        (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=r"another package's BertForMaskedLM .Geneformer's"):
        open_folder(folder)


class Bomb:
    """Unpickling makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.mkdir, (self.mark,)


def test_pickle_is_refused_and_never_opened(folder, tmp_path):
    mark = tmp_path / "run"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    open_folder(folder).network()  # beside proper weights it is left alone
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"as pickle .pytorch_model.bin.* pickle is never read"):
        open_folder(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModel": "evil.Model"}),
        ("attn_implementation", "somebody/kernel"),
        ("_attn_implementation", "somebody/kernel"),
        ("quantization_config", {"quant_method": "x"}),
        ("transformers_weights", "adapter_model.bin"),
    ],
)
def test_settings_that_fetch_or_run_code_are_refused(folder, key, value):
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(ModelFolderError, match=f"sets {key}, which could load code"):
        open_folder(folder)


def test_adapters_are_refused(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(ModelFolderError, match=r"an adapter \(adapter_config.json\)"):
        open_folder(folder)
