"""Fixtures made in code: a tiny model folder, cells that fit it, and the folder of real data where there is one."""

from __future__ import annotations

import os
import re

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy or torch load: workers share the cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from anndata import AnnData

N_GENES = 60
N_UNKNOWN = 5
N_CELLS = 60

hypothesis_settings.register_profile(
    "scflyformer",
    deadline=None,
    max_examples=20,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("scflyformer")


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what runs benchmarks, or pages of the docs."""
    benchmarks = Path(__file__).parent / "benchmarks"
    for item in items:
        if item.path.is_relative_to(benchmarks) or "run_page" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def _no_machine_settings(tmp_path_factory: pytest.TempPathFactory):
    """Hide the models and cache of this machine from the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SCFLYFORMER_MODELS", raising=False)
        patch.delenv("SCFLYFORMER_REGISTRY", raising=False)
        patch.setenv("SCFLYFORMER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _no_open_figures():
    """Close what a test has drawn."""
    yield
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def tiny_genes() -> pd.DataFrame:
    """Genes of the tiny model: FlyBase-like ids and symbols."""
    numbers = range(1, N_GENES + 1)
    return pd.DataFrame({"gene_id": [f"FBgn99{n:05d}" for n in numbers], "symbol": [f"tiny{n}" for n in numbers]})


@pytest.fixture(scope="session")
def tiny_vocabulary():
    """Vocabulary of the tiny model."""
    from scflyformer.genes._vocabulary import Vocabulary

    genes = tiny_genes()
    rng = np.random.default_rng(1)
    return Vocabulary(
        gene_ids=genes["gene_id"].to_numpy(dtype=str),
        symbols=genes["symbol"].to_numpy(dtype=str),
        medians=rng.uniform(1, 20, N_GENES).round(2).astype(np.float32),
        n_cells=rng.integers(100, 1000, N_GENES),
        synonyms=np.array([f"CG{n}|old{n}" for n in range(1, N_GENES + 1)]),
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_vocabulary) -> Path:
    """Folder of a model with random weights: 60 genes, width 32, two layers, a cell token."""
    import torch

    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = make_config(
        tiny_vocabulary.n_tokens,
        NetworkShape(
            objective="cell",
            hidden_size=32,
            n_layers=2,
            n_heads=2,
            feed_forward=64,
            max_len=48,
            dropout=0.0,
        ),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CellBert(config)
    provenance = {"note": "random weights"}
    save_folder(folder, network, tiny_vocabulary, metrics={}, provenance=provenance, card="# tiny\n\nRandom weights.\n")
    return folder


def make_cells(n_cells: int = N_CELLS, *, seed: int = 0) -> AnnData:
    """Draw cells of three types, two ages and four samples over the tiny model's genes and a few that it lacks.

    Each type and each age doubles genes of its own; a sample has one age and holds every type.
    """
    from anndata import AnnData

    rng = np.random.default_rng(seed)
    genes = tiny_genes()
    n_genes = N_GENES + N_UNKNOWN
    number = np.arange(n_cells)
    cell_type, sample = number % 3, (number // 3) % 4
    old = sample >= 2
    rate = np.tile(rng.uniform(0.3, 3, n_genes), (n_cells, 1))
    for kind in range(3):
        rate[np.ix_(cell_type == kind, range(8 * kind, 8 * kind + 8))] *= 6
    rate[np.ix_(old, range(24, 32))] *= 4
    rate[np.ix_(~old, range(32, 40))] *= 4
    counts = rng.poisson(rate * rng.uniform(0.6, 1.6, (n_cells, 1)))
    unknown = pd.DataFrame(
        {"gene_id": [f"NOTFLY{n}" for n in range(N_UNKNOWN)], "symbol": [f"stranger{n}" for n in range(N_UNKNOWN)]}
    )
    var = pd.concat([genes, unknown], ignore_index=True)
    return AnnData(
        sp.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(
            {
                "cell_type": pd.Categorical(np.array(["glia", "neuron", "T4/T5"])[cell_type]),
                "batch": pd.Categorical([f"s{n}" for n in sample]),
                "age": np.where(old, 30, 5),
            },
            index=[f"cell{n}" for n in number],
        ),
        var=pd.DataFrame({"FBgn": var["gene_id"].astype(object).to_numpy()}, index=var["symbol"].astype(object)),
    )


@pytest.fixture
def cells() -> AnnData:
    """Sixty cells × 65 genes, CSR counts; `obs`: `cell_type`, `batch`, `age`; symbols, and ids in `var["FBgn"]`."""
    return make_cells()


@pytest.fixture
def many_cells() -> AnnData:
    """Four times as many cells, for what learns from them."""
    return make_cells(4 * N_CELLS, seed=3)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets: `SCFLYFORMER_DATA`, else `../shared/data` beside the checkout; skips without either."""
    named = os.environ.get("SCFLYFORMER_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "fly").is_dir():
        pytest.skip(f"no real data in {folder}; set SCFLYFORMER_DATA to a folder that holds fly/*.h5ad")
    return folder


@pytest.fixture(scope="session")
def make_network() -> Callable:
    """Return a function that makes a network with random weights, width 16, over thirty genes."""
    import torch

    from scflyformer.genes._vocabulary import N_SPECIAL
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    def make(
        objective: str = "cell",
        *,
        n_layers: int = 2,
        max_len: int = 20,
        code_size: int = 0,
        n_directions: int = 0,
        bert_len: int | None = None,
    ):
        config = make_config(
            30 + N_SPECIAL,
            NetworkShape(
                objective=objective,
                hidden_size=16,
                n_layers=n_layers,
                n_heads=2,
                feed_forward=32,
                max_len=max_len,
                dropout=0.3,
                code_size=code_size,
                n_directions=n_directions,
                bert_len=bert_len,
            ),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = CellBert(config).eval()
            for parameter in network.parameters():  # no bias stays zero, no norm the identity
                parameter.data += 0.3 * torch.randn_like(parameter)
        return network

    return make


@pytest.fixture
def make_rows() -> Callable:
    """Return a function that draws ranked cells of given lengths over these genes."""
    from scflyformer.genes._vocabulary import N_SPECIAL
    from scflyformer.tokens._rows import TokenRows

    def make(lengths: list[int], seed: int = 0) -> TokenRows:
        random = np.random.default_rng(seed)
        genes = [random.permutation(30)[:length] for length in lengths]
        values = [np.sort(random.gamma(2, 0.5, length))[::-1] for length in lengths]
        return TokenRows(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([*genes, np.empty(0)]).astype(np.int32) + N_SPECIAL,
            np.concatenate([*values, np.empty(0)]).astype(np.float32),
        )

    return make


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], dict]:
    """Run the Python blocks of a page of the docs from top to bottom, in an empty folder, and return their names."""

    def run(page: Path) -> dict:
        monkeypatch.chdir(tmp_path)
        text, names = page.read_text(encoding="utf-8"), {}
        for block in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE):
            line = text[: block.start(1)].count("\n")
            exec(compile("\n" * line + block[1], str(page), "exec"), names)
        return names

    return run
