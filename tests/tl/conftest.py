"""A model that answers to every gene, and a perturbation on it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import scflyformer as sf

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture(scope="session")
def lively_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with weights so large that its embedding answers to every gene."""
    from scflyformer.models._save import save_folder

    tiny = sf.models.load(tiny_model)
    network = copy.deepcopy(tiny.network())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    folder = tmp_path_factory.mktemp("lively") / "lively"
    save_folder(folder, network, tiny.vocabulary, metrics={}, provenance={"note": "random"}, card="# lively\n")
    return folder


@pytest.fixture
def run(cells: AnnData, lively_model: Path) -> Callable[..., dict[str, Any]]:
    """Perturb with few null genes and return what was written; ``"results"`` are shifts alone, ``"every"`` all rows."""

    def call(adata: AnnData = cells, **changes: Any) -> dict[str, Any]:
        asked = {"genes": ["tiny1", "tiny30"], "state_key": "age", "start": 30, "goal": 5}
        asked |= {"n_null": 10, "model": lively_model}
        sf.tl.perturb(adata, **(asked | changes))
        found = adata.uns[changes.get("key_added", "perturb")]
        shifts = found["results"][found["results"]["readout"] == "shift"].reset_index(drop=True)
        return found | {"results": shifts, "every": found["results"]}

    return call
