"""A small model and simulated cells for the speed suite."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small model with random weights, a cell token and a profile code, that knows the genes of simulated cells."""
    import scflyformer as sf
    from scflyformer.genes._vocabulary import Vocabulary
    from scflyformer.models._save import save_folder
    from scflyformer.network._network import CellBert, NetworkShape, make_config

    genes = sf.datasets.fly_brain_simulated(21).var
    random = np.random.default_rng(0)
    vocabulary = Vocabulary(
        gene_ids=genes["FBgn"].to_numpy(dtype=str),
        symbols=genes.index.to_numpy(dtype=str),
        medians=random.uniform(1, 20, len(genes)).round(1).astype(np.float32),
        n_cells=np.full(len(genes), 100),
        synonyms=np.full(len(genes), ""),
    )
    shape = NetworkShape(
        objective="cell", hidden_size=24, n_layers=3, n_heads=2, feed_forward=40, max_len=160, dropout=0.0, code_size=8,
        n_directions=12,
    )  # fmt: skip
    config = make_config(vocabulary.n_tokens, shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CellBert(config)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_folder(folder, network, vocabulary, metrics={}, provenance={}, card="# Small\n")
    return folder


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """A folder of data with 90 simulated cells of real genes."""
    import scflyformer as sf

    folder = tmp_path_factory.mktemp("simulated")
    (folder / "fly").mkdir()
    sf.datasets.fly_brain_simulated(90, n_libraries=1).write_h5ad(folder / "fly" / "davie_brain_aging.h5ad")
    return folder


@pytest.fixture
def settings(simulated, model_folder, tmp_path, monkeypatch):
    """Settings for the small model and the simulated cells."""
    import scflyformer as sf
    from benchmarks.speed.settings import Settings

    monkeypatch.setattr(sf.settings, "device", "cpu")
    return Settings(simulated, tmp_path, str(model_folder), 30, torch.get_num_threads(), "cpu", quick=True)
