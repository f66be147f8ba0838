"""Random networks and random cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL
from scflyformer.tokens._rows import TokenRows


@pytest.fixture(scope="session")
def make_network() -> Callable:
    """Return a function that makes a network with random weights, width 16, over thirty genes."""
    import torch

    from scflyformer.network._network import CellBert, make_config

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
    """Return a function that draws ranked cells of given lengths."""

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
