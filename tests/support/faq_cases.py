"""For each entry of the FAQ that quotes a message, the code that makes the package say it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc
from anndata import AnnData

import scflyformer as sf

TINY = {"model": "fly-tiny"}
QUICK = {"baselines": "none"}
BY_SAMPLE = {"label_key": "cell_type", "sample_key": "batch", **QUICK}
STATES = {"state_key": "age", "start": 30, "goal": 0, "sample_key": "batch", "n_null": 0, "max_cells": 2}

CASES: dict[str, Callable[[AnnData], object]] = {}
"""The title of an entry, and what takes simulated cells, embedded by fly-tiny, and makes its message."""


def case(title: str) -> Callable[[Callable[[AnnData], object]], Callable[[AnnData], object]]:
    """Register a function under the title of the entry that it belongs to."""

    def register(function: Callable[[AnnData], object]) -> Callable[[AnnData], object]:
        assert title not in CASES, title
        CASES[title] = function
        return function

    return register


def embed(cells: AnnData, names: object = None, values: object = None) -> None:
    """Embed with other gene names, or other values."""
    if names is not None:
        cells = anndata.AnnData(cells.X, cells.obs, cells.var[[]])
        cells.var_names = names
    if values is not None:
        cells.X = values
    sf.tl.embed(cells, **TINY)


# Gene names


@case("No gene is recognised")
def _(cells: AnnData) -> None:
    cells.var_names = [str(number) for number in range(cells.n_vars)]
    sf.tl.embed(cells, **TINY)


@case("All names are in capitals")
def _(cells: AnnData) -> None:
    embed(cells, names=anndata.utils.make_index_unique(cells.var_names.str.upper()))


@case("Names spelt by another program")
def _(cells: AnnData) -> None:
    embed(cells, names=cells.var_names.str.replace(":", "."))


@case("Human or mouse genes")
def _(cells: AnnData) -> None:
    embed(cells, names=[f"ENSG{number:011d}" for number in range(cells.n_vars)])


@case("Few genes are found")
def _(cells: AnnData) -> None:
    embed(cells, names=[name if n % 3 == 0 else f"new{n}" for n, name in enumerate(cells.var_names)])


@case("The model reads half of my counts")
def _(cells: AnnData) -> None:
    counts = cells.X.toarray()
    counts[:, 0] = counts.sum(axis=1) * 2
    embed(cells, names=["a gene that the model lacks", *cells.var_names[1:]], values=counts)


@case("My marker is missing")
def _(cells: AnnData) -> None:
    sf.tl.perturb(cells, genes=["Hsp68", "Hnf4", "repo"], **STATES)


# Values


@case("Negative values")
def _(cells: AnnData) -> None:
    embed(cells, values=cells.X.toarray() - 1)


@case("NaN")
def _(cells: AnnData) -> None:
    values = cells.X.toarray()
    values[0, :] = np.nan
    embed(cells, values=values)


@case("Cells on different scales")
def _(cells: AnnData) -> None:
    values = cells.X.toarray()
    values[:40] = np.log1p(values[:40])
    embed(cells, values=values)


@case("No counts behind log values")
def _(cells: AnnData) -> None:
    noise = np.random.default_rng(0).uniform(0.7, 1.3, cells.shape)
    embed(cells, values=np.log1p(cells.X.toarray() * noise))


@case("log1p taken twice, or square roots")
def _(cells: AnnData) -> None:
    sc.pp.normalize_total(cells, target_sum=1e4)
    embed(cells, values=np.log1p(np.log1p(cells.X)))


@case("Cells without counts")
def _(cells: AnnData) -> None:
    values = cells.X.toarray()
    values[:2] = 0
    embed(cells, values=values)


# Columns, samples and states


@case("Cells of one name")
def _(cells: AnnData) -> None:
    cells.obs_names = ["cell"] * cells.n_obs
    sf.tl.annotate(cells, **BY_SAMPLE)


@case("Ages that are not numbers")
def _(cells: AnnData) -> None:
    cells.obs["age"] = [f"{age}w" for age in cells.obs["age"]]
    sf.tl.age_clock(cells, sample_key="batch", **QUICK)


@case("One sample for each age")
def _(cells: AnnData) -> None:
    one = cells[cells.obs["batch"].str.endswith("r1")].copy()
    sf.tl.age_clock(one, sample_key="batch", **QUICK)


@case("Too few samples")
def _(cells: AnnData) -> None:
    two = cells[cells.obs["batch"].isin(["sim_0d_r1", "sim_30d_r1"])].copy()
    sf.tl.age_clock(two, sample_key="batch", **QUICK)


@case("No sample is named")
def _(cells: AnnData) -> None:
    sf.tl.annotate(cells, label_key="cell_type", **QUICK)


@case("Each sample holds one type")
def _(cells: AnnData) -> None:
    cells.obs["sorted"] = cells.obs["cell_type"].astype(str)
    sf.tl.annotate(cells, **(BY_SAMPLE | {"sample_key": "sorted"}))


@case("No cell is in the state")
def _(cells: AnnData) -> None:
    sf.tl.perturb(cells, genes="Hsp68", **(STATES | {"start": 70}))


# Reading results


@case("The states cannot be told apart")
def _(cells: AnnData) -> None:
    libraries = {"state_key": "batch", "start": "sim_30d_r1", "goal": "sim_30d_r2", "sample_key": None}
    sf.tl.perturb(cells, genes="Hsp68", **(STATES | libraries))


# Models


@case("No network")
def _(cells: AnnData) -> None:
    ours = {"our-fly": {"url": "http://127.0.0.1:9/our-fly.zip", "sha256": "0" * 64}}
    Path("models.json").write_text(json.dumps(ours))
    with sf.settings.override(registry_file="models.json", cache_folder="cache"):
        sf.models.fetch("our-fly")


@case("Which model ran?")
def _(cells: AnnData) -> None:
    sf.tl.perturb(cells, genes="Hsp68", model="fly", **STATES)


@case("The hash is another one")
def _(cells: AnnData) -> None:
    shutil.copytree(sf.models.load("fly-tiny").path, "mine/fly-tiny")
    with Path("mine/fly-tiny/config.json").open("a") as file:
        file.write(" ")
    with sf.settings.override(model_folders="mine"):
        sf.models.load("fly-tiny")


@case("A model of another package")
def _(cells: AnnData) -> None:
    Path("other").mkdir()
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
    Path("other/config.json").write_text(json.dumps(config))
    sf.models.load("./other")


# Devices and installation, objects and files


@case("The graphics card is not used")
def _(cells: AnnData) -> None:
    with sf.settings.override(device="cuda"):
        sf.tl.embed(cells, **TINY)


@case("The embedding is not used")
def _(cells: AnnData) -> None:
    cells.X = np.random.default_rng(0).permuted(cells.X.toarray(), axis=1)
    sf.tl.annotate(cells, **BY_SAMPLE)


@case("No cells are left")
def _(cells: AnnData) -> None:
    sf.tl.embed(cells[cells.obs["age"] == "30"].copy(), **TINY)
