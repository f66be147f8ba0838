"""No public function changes a byte of what it is given, nor the state of the global random generators."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from flat_options import pretrain

import scflyformer as sf

from .conftest import make_cells

PRETRAIN: dict[str, Any] = {
    "hidden_size": 16, "n_layers": 1, "n_heads": 2, "code_size": 8, "n_directions": 8, "code_epochs": 1, "epochs": 1,
    "warmup_steps": 1, "validation": 0.2, "min_cells": 2,
}  # fmt: skip


def twisted(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return the same matrix with the entries of each row in random order."""
    coo = matrix.tocoo()
    order = np.lexsort([np.random.default_rng(0).permutation(coo.nnz), coo.row])
    out = sp.csr_matrix((coo.data[order], coo.col[order], matrix.indptr), shape=matrix.shape)
    assert not out.has_sorted_indices
    return out


STORED: dict[str, Callable[[sp.csr_matrix], Any]] = {
    "csr": sp.csr_matrix,
    "twisted": twisted,
    "csc": sp.csc_matrix,
    "dense": lambda matrix: matrix.toarray(),
    "layer": sp.csr_matrix,
    "float64 log1p": lambda matrix: sp.csr_matrix(np.log1p(matrix.toarray() * 3.7)),
}


def cells_stored(how: str) -> ad.AnnData:
    """Return cells whose genes stand in no order, with two embeddings, in X or in a layer."""
    cells = make_cells(120, seed=3)
    cells = cells[:, np.random.default_rng(1).permutation(cells.n_vars)].copy()
    sample = np.arange(120) // 3 % 8
    cells.obs["batch"] = pd.Categorical([f"s{n}" for n in sample])
    cells.obs["age"], cells.obs["strain"] = sample % 4 * 10, np.where(sample < 4, "a", "b")
    cells.obsm["X_pca"] = np.random.default_rng(2).normal(size=(120, 4))
    cells.obsm["X_sparse"] = sp.csr_matrix(cells.obsm["X_pca"])
    matrix = STORED[how](cells.X)
    cells.X = np.ones(cells.shape, np.float32) if how == "layer" else matrix
    if how == "layer":
        cells.layers["here"] = matrix
    return cells


def arrays_of(value: Any, path: str) -> Iterator[tuple[str, np.ndarray]]:
    """Walk through all that an object holds, down to the arrays."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif sp.issparse(value):
        for name in ("data", "indices", "indptr"):
            yield f"{path}.{name}", getattr(value, name)
    elif isinstance(value, pd.DataFrame):
        yield f"{path}.index", value.index.to_numpy()
        for name in value:
            column = value[name]
            yield f"{path}[{name!r}]", (column.cat.codes if hasattr(column, "cat") else column).to_numpy()
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from arrays_of(inner, f"{path}[{name!r}]")


def contents(adata: ad.AnnData) -> dict[str, np.ndarray]:
    places = ("X", "layers", "obs", "var", "obsm", "uns")
    return {path: array for place in places for path, array in arrays_of(getattr(adata, place), place)}


def bytes_of(array: np.ndarray) -> bytes:
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def generators() -> tuple[Any, ...]:
    return random.getstate(), str(np.random.get_state()), bytes(torch.get_rng_state().numpy())


def steps(model: Path, folder: Path, layer: str | None) -> dict[str, Callable[[ad.AnnData], Any]]:
    """Return calls of all public functions, each with what the ones before have left."""
    reading: dict[str, Any] = {"layer": layer}
    states: dict[str, Any] = {"state_key": "age", "start": 30, "goal": 0, "sample_key": "batch"}
    few: dict[str, Any] = {"n_null": 5, "max_cells": 12}
    shown: dict[str, Any] = {"show": False}
    return {
        "pp.tokenize": lambda a: sf.pp.tokenize(a, model=model, **reading),
        "pp.harmonize_labels": lambda a: sf.pp.harmonize_labels(a, "cell_type"),
        "tl.embed": lambda a: sf.tl.embed(a, model=model, **reading),
        "tl.pretrain": lambda a: pretrain(a, out=folder / "pretrained", **PRETRAIN, **reading),
        "tl.adapt": lambda a: sf.tl.adapt(a, model=folder / "pretrained", out=folder / "adapted", **reading),
        "tl.annotate": lambda a: sf.tl.annotate(a, label_key="cell_type", sample_key="batch", **reading),
        "tl.annotate finetune": lambda a: sf.tl.annotate(
            a, label_key="cell_type", sample_key="batch", method="finetune", epochs=1, baselines="none",
            key_added="finetuned", **reading,
        ),
        "tl.annotate reference": lambda a: sf.tl.annotate(
            a[:20].to_memory() if a.isbacked else a[:20].copy(), reference=a, label_key="cell_type",
            sample_key="batch", baselines="none", **reading,
        ),
        "tl.annotate use_rep": lambda a: sf.tl.annotate(
            a, label_key="cell_type", use_rep="X_pca", key_added="by_pca", **reading
        ),
        "tl.annotate save": lambda a: sf.tl.annotate(
            a[:60].to_memory() if a.isbacked else a[:60].copy(), label_key="cell_type", baselines="none",
            save=folder / "types", **reading,
        ),
        "tl.annotation_genes": lambda a: sf.tl.annotation_genes(
            a, classifier=folder / "types", genes=["tiny1"], label_key="cell_type", **few, **reading
        ),
        "tl.age_clock": lambda a: sf.tl.age_clock(
            a, sample_key="batch", baselines="all", save=folder / "clock", **reading
        ),
        "tl.age_clock sparse": lambda a: sf.tl.age_clock(a, use_rep="X_sparse", key_added="by_sparse", **reading),
        "tl.age_clock expression": lambda a: sf.tl.age_clock(
            a, features="expression", sample_key="batch", save=folder / "genes", key_added="by_genes", **reading
        ),
        "tl.age_clock clock": lambda a: sf.tl.age_clock(a, clock=folder / "genes", key_added="again", **reading),
        "tl.age_acceleration": lambda a: sf.tl.age_acceleration(a, compare="strain", reference="a"),
        "tl.clock_genes": lambda a: sf.tl.clock_genes(a, clock=folder / "genes", genes=["tiny1"], **few, **reading),
        "tl.perturb": lambda a: sf.tl.perturb(
            a, genes=["tiny1", "tiny2"], pairs="all", clock=folder / "clock", downstream=3, **few, **states, **reading
        ),
        "tl.perturb screen": lambda a: sf.tl.perturb(
            a, genes="all", method="screen", n_top=2, key_added="screened", **few, **states, **reading
        ),
        "pl.age_clock": lambda a: sf.pl.age_clock(a, **shown),
        "pl.annotation": lambda a: sf.pl.annotation(a, basis="X_pca", **shown),
        "pl.clock_scores": lambda a: sf.pl.clock_scores(a, **shown),
        "pl.confusion": lambda a: sf.pl.confusion(a, truth="cell_type", **shown),
        "pl.expression": lambda a: sf.pl.expression(a, "tiny1", groupby="age", **shown, **reading),
        "pl.perturb_shift": lambda a: sf.pl.perturb_shift(a, **shown),
        "pl.perturb_volcano": lambda a: sf.pl.perturb_volcano(a, **shown),
        "pl.training": lambda a: sf.pl.training(folder / "pretrained", **shown),
        "get.annotation_df": sf.get.annotation_df,
        "get.clock_df": sf.get.clock_df,
        "get.clock_genes_df": sf.get.clock_genes_df,
        "get.gene_embeddings": lambda a: sf.get.gene_embeddings(model),
        "get.perturb_df": sf.get.perturb_df,
    }  # fmt: skip


def test_every_function_is_called(tiny_model: Path, tmp_path: Path) -> None:
    called = {name.split()[0] for name in steps(tiny_model, tmp_path, None)}
    known = {f"{package}.{name}" for package in ("pp", "tl", "pl", "get") for name in getattr(sf, package).__all__}
    assert called == known - {"tl.PretrainOptions"}


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=() if how == "twisted" else pytest.mark.slow) for how in STORED]
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_given_is_changed(tiny_model: Path, tmp_path: Path, how: str) -> None:
    adata = cells_stored(how)
    for name, call in steps(tiny_model, tmp_path, "here" if how == "layer" else None).items():
        given = contents(adata)
        before, state = {path: bytes_of(array) for path, array in given.items()}, generators()
        call(adata)
        changed = [path for path, array in given.items() if bytes_of(array) != before[path]]
        assert not changed, f"{name} changed {changed} in place"
        now = contents(adata)
        replaced = [path for path in before if not path.startswith("uns") and bytes_of(now[path]) != before[path]]
        assert not replaced, f"{name} replaced {replaced}"
        assert generators() == state, f"{name} touched a global random generator"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["csr", "csc", "dense"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_is_not_changed(tiny_model: Path, tmp_path: Path, how: str) -> None:
    file = tmp_path / "cells.h5ad"
    cells_stored(how).write_h5ad(file)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    pretrain(file, out=tmp_path / "from-path", **PRETRAIN)
    backed = ad.read_h5ad(file, backed="r")
    try:
        for call in steps(tiny_model, tmp_path, None).values():
            call(backed)
    finally:
        backed.file.close()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_pretraining_twice_on_one_object_gives_the_same_medians(tmp_path: Path) -> None:
    adata = cells_stored("csr")
    for name in ("one", "two"):
        pretrain(adata, out=tmp_path / name, **PRETRAIN)
    one, two = (sf.models.load(tmp_path / name).vocabulary for name in ("one", "two"))
    np.testing.assert_array_equal(one.medians, two.medians)
