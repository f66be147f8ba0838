"""The list of training cells: what is written is read, and what is damaged is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import sparse

import scflyformer as sf
from scflyformer.models._manifest import FILE, CellSet, Manifest

N_GENES = 60


def cells(n_cells: int, seed: int) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.random.default_rng(seed).random((n_cells, N_GENES)) < 0.5)


def set_of(rows: sparse.csr_matrix, keys: np.ndarray, *, bits: int = 16, name: str = "set") -> CellSet:
    def chunks():
        for part in (rows[:100], rows[100:]):
            yield part.indptr, part.indices

    return CellSet.of(name, "pretraining", chunks, keys, np.ones(N_GENES, dtype=bool), bits=bits)


def sums_of(rows: sparse.csr_matrix, keys: np.ndarray) -> np.ndarray:
    return (rows.astype(np.uint64) @ keys[:, None])[:, 0]


@pytest.fixture
def manifest(tiny_vocabulary) -> Manifest:
    empty = Manifest.new(tiny_vocabulary)
    keys = empty.keys(tiny_vocabulary)
    sets = [set_of(cells(3000, 0), keys, bits=8, name="large"), set_of(cells(200, 1), keys, name="small")]
    return Manifest(empty.salt, tuple(sets), ("older",))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_set_holds_its_cells_and_others_by_chance_alone(tiny_vocabulary, bits: int) -> None:
    keys = Manifest.new(tiny_vocabulary).keys(tiny_vocabulary)
    inside, outside = cells(4000, 0), cells(50_000, 1)
    made = set_of(inside, keys, bits=bits)
    counted = (np.diff(inside.indptr) >= 20) & (np.diff(inside.indptr) <= N_GENES - 20)
    assert made.n_cells == 4000 and made.n_buckets == counted.sum()
    assert made.holds(sums_of(inside[counted], keys)).all()
    found = made.holds(sums_of(outside, keys)).sum()
    expected = 50_000 * made.chance
    assert made.chance <= 2.0**-bits and abs(found - expected) < 5 * np.sqrt(expected) + 1


def test_what_is_written_is_read(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    read = Manifest.read(tmp_path, N_GENES)
    assert read is not None and (read.salt, read.unknown) == (manifest.salt, ("older",))
    for one, other in zip(read.sets, manifest.sets, strict=True):
        for name in ("name", "use", "n_cells", "n_buckets", "bits"):
            assert getattr(one, name) == getattr(other, name)
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.genes, other.genes)


def test_a_cell_takes_ten_bits_and_the_bytes_are_always_the_same(manifest: Manifest, tmp_path: Path) -> None:
    large = manifest.sets[0]
    sizes = []
    for sets in ((), (large,)):
        Manifest(manifest.salt, sets).write(tmp_path)
        sizes.append((tmp_path / FILE).stat().st_size)
    assert sizes[1] - sizes[0] < large.n_buckets * 10 / 8 + 600
    first = (tmp_path / FILE).read_bytes()
    Manifest(manifest.salt, (large,)).write(tmp_path)
    assert (tmp_path / FILE).read_bytes() == first


def test_an_empty_set_holds_nothing(tiny_vocabulary, tmp_path: Path) -> None:
    new = Manifest.new(tiny_vocabulary)
    nothing = sparse.csr_matrix((5, N_GENES), dtype=bool)
    new.add([set_of(nothing, new.keys(tiny_vocabulary))]).write(tmp_path)
    read = Manifest.read(tmp_path, N_GENES)
    assert read is not None
    (empty,) = read.sets
    assert (empty.n_cells, empty.chance) == (5, 0) and not empty.holds(np.arange(9, dtype=np.uint64)).any()


def test_a_folder_without_one_has_none(folder: Path) -> None:
    assert Manifest.read(folder, N_GENES) is None
    assert Manifest.of_model(sf.models.load(folder)).unknown == ("my-model",)


def parts(path: Path) -> tuple[dict, dict]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["cells"]), {name: file.get_tensor(name) for name in file.keys()}


def change(content: dict, tensors: dict, how: str) -> None:
    about = content["sets"][0]
    changes = {
        "format": lambda: content.update(format=2),
        "salt": lambda: content.update(salt="xyz"),
        "no salt": lambda: content.update(salt=""),
        "sets": lambda: content.update(sets=7),
        "use": lambda: about.update(use="nothing"),
        "n_cells": lambda: about.update(n_cells=3),
        "n_buckets": lambda: about.update(n_buckets=10**15),
        "text": lambda: about.update(n_cells="3000"),
        "no tensor": lambda: tensors.pop("0.low"),
        "kind": lambda: tensors.update({"0.low": tensors["0.low"].astype(np.int64)}),
        "shape": lambda: tensors.update({"0.genes": tensors["0.genes"][:, None]}),
        "genes": lambda: tensors.update({"0.genes": tensors["0.genes"] + 1}),
        "order of genes": lambda: tensors.update({"0.genes": tensors["0.genes"][::-1].copy()}),
        "marks": lambda: tensors.update({"0.high": np.zeros_like(tensors["0.high"])}),
        "order of cells": lambda: tensors.update({"0.low": tensors["0.low"][::-1].copy()}),
        "cut": lambda: tensors.update({"0.low": tensors["0.low"][:-5]}),
    }
    changes[how]()


HOW = ("format", "salt", "no salt", "sets", "use", "n_cells", "n_buckets", "text", "no tensor", "kind", "shape",
       "genes",
       "order of genes", "marks", "order of cells", "cut")  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_a_changed_one_is_refused(manifest: Manifest, tmp_path: Path, how: str) -> None:
    manifest.write(tmp_path)
    content, tensors = parts(tmp_path / FILE)
    change(content, tensors, how)
    save_file(tensors, tmp_path / FILE, metadata={"cells": json.dumps(content)})
    with pytest.raises(sf.models.ModelFolderError, match=r"cells\.safetensors, the list of training cells, cannot be"):
        Manifest.read(tmp_path, N_GENES)


@pytest.mark.parametrize("keep", [0, 5, 200, 5000])
def test_one_cut_short_is_refused(manifest: Manifest, tmp_path: Path, keep: int) -> None:
    manifest.write(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:keep])
    with pytest.raises(sf.models.ModelFolderError, match="Copy or fetch the folder again, whole"):
        Manifest.read(tmp_path, N_GENES)


def test_that_of_another_vocabulary_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    with pytest.raises(sf.models.ModelFolderError, match="do not fit a vocabulary of 40"):
        Manifest.read(tmp_path, 40)
