"""What draws from the global generators inside leaves them as they were, errors or not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from scflyformer.network._randomness import own_randomness


def _draw() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


@pytest.mark.parametrize("fails", [False, True])
def test_the_generators_go_on_as_if_nothing_had_been(fails: bool) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = [_draw(), _draw()]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    found = [_draw()]
    try:
        with own_randomness():
            random.seed(5)
            np.random.seed(5)
            torch.manual_seed(5)
            assert _draw() != expected[1]
            if fails:
                raise OSError
    except OSError:
        pass
    assert [*found, _draw()] == expected
