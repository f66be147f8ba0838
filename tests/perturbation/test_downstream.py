"""Moves of contextual embeddings against one cell at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scflyformer.perturbation import _copies
from scflyformer.perturbation._downstream import contextual_moves
from scflyformer.perturbation._edit import Edits


def states(network, tokens: list[int], values: list[float]) -> dict[int, np.ndarray]:
    """The second-to-last layer's vector of each gene of one cell."""
    with torch.inference_mode():
        hidden = network.encode(torch.tensor([tokens]), torch.tensor([values]), layer=-2)[0]
    hidden = hidden[int(network.has_cell_token) :].numpy().astype(float)
    return {token: vector / np.linalg.norm(vector) for token, vector in zip(tokens, hidden, strict=True)}


@pytest.mark.parametrize("kind", ["delete", "overexpress", "knockdown", "mask"])
def test_against_one_by_one(make_network, make_rows, kind, monkeypatch) -> None:
    monkeypatch.setattr(_copies, "BLOCK_TOKENS", 40)
    network, rows = make_network(), make_rows([6, 9, 4])
    cells = np.array([0, 1, 2, 1, 0])
    sets = np.array([[rows.tokens[0]], [rows.tokens[8]]], dtype=np.int32)
    chosen = np.array([0, 0, 0, 1, 1])
    held = [int(sets[number, 0]) in row(rows, cell)[0] for cell, number in zip(cells, chosen, strict=True)]
    if kind != "overexpress":
        cells, chosen = cells[held], chosen[held]
    slot = chosen.copy()
    edits = Edits(sets, cells, chosen, kind, 0.5)
    found, counts = contextual_moves(network, rows, edits, slot)
    want: dict[tuple[int, int], list[float]] = {}
    for copy, (cell, number) in enumerate(zip(cells, chosen, strict=True)):
        edited = _copies.edit_block(rows, edits, np.array([copy]), max_len=network.max_len)
        before = states(network, *row(rows, cell))
        after = states(network, edited.rows.tokens.tolist(), edited.rows.values.tolist())
        for token in set(before) & set(after):
            want.setdefault((int(number), token), []).append(1 - before[token] @ after[token])
    assert {tuple(map(int, place)) for place in np.argwhere(counts > 0)} == set(want)
    for (number, token), moves in want.items():
        assert counts[number, token] == len(moves)
        assert found[number, token] == pytest.approx(np.mean(moves), abs=1e-5)
    assert np.isnan(found[counts == 0]).all() and max(map(max, want.values())) > 1e-4


def row(rows, cell: int) -> tuple[list[int], list[float]]:
    """Tokens and values of one cell."""
    inside = slice(rows.indptr[cell], rows.indptr[cell + 1])
    return rows.tokens[inside].tolist(), rows.values[inside].tolist()
