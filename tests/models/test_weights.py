"""Passing proves: a safetensors file that is cut, grown or foreign is told from a whole one without loading it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.models._folder import tensor_shapes


def test_shapes_are_those_of_the_tensors(tiny_model):
    from safetensors.numpy import load_file

    expected = {name: tensor.shape for name, tensor in load_file(tiny_model / "model.safetensors").items()}
    assert tensor_shapes(tiny_model / "model.safetensors") == expected


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_told_wherever_it_is_cut(tiny_model, tmp_path, share):
    whole = (tiny_model / "model.safetensors").read_bytes()
    file = tmp_path / "cut"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"it is cut short"):
        tensor_shapes(file)


def test_bytes_too_many(tiny_model, tmp_path):
    file = tmp_path / "grown"
    file.write_bytes((tiny_model / "model.safetensors").read_bytes() + b"x")
    with pytest.raises(ValueError, match=r"longer than its header says"):
        tensor_shapes(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (b"PK\x03\x04" + bytes(range(100)), "not a safetensors file"),
        (bytes(64), "not a safetensors file"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    file = tmp_path / "foreign"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tensor_shapes(file)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "inconsistent at tensor 'a'"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}, "inconsistent at tensor 'a'"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, "cannot be read"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}, "cannot be read"),
        ({"dtype": [], "shape": [1], "data_offsets": [0, 4]}, "cannot be read"),
        ({"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}, "cannot be read"),
        ({}, "cannot be read"),
        (3, "cannot be read"),
    ],
)
def test_headers_that_contradict_themselves(tmp_path, entry, message):
    header = json.dumps({"a": entry}).encode()
    file = tmp_path / "odd"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match=message):
        tensor_shapes(file)
