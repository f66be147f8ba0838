"""Passing proves: the model card says what was measured, on which data, and nothing of a part that is not there."""

from __future__ import annotations

import pytest

from scflyformer.training._card import model_card

HELD = {
    "split_unit": "sample", "samples": ["head:s1", "head:s2"], "n_cells": 1200, "n_cells_scored": 640,
    "mlm": 5.25, "profile": 0.31, "unigram": 6.5, "unigram_by_source": 6.125,
}  # fmt: skip
PROVENANCE = {
    "init": None,
    "data": [{"name": "head", "n_cells": 30_000, "n_used": 25_000, "n_genes": 842, "sha256": "0123456789abcdef"}],
    "options": {"objective": "cell", "n_layers": 4, "hidden_size": 96, "max_len": 1024},
    "settings": {"exclude": {"batch": ["FCA4", "FCA13"], "genotype": ["DGRP-551"]}},
}


def test_what_it_says(tiny_vocabulary):
    card = model_card("my-fly", tiny_vocabulary, {"held_out": HELD}, PROVENANCE)
    assert card.startswith("# my-fly\n")
    for words in (
        "4 layers, width 96, 1024 genes a cell, 60 genes known",
        "| head | 25,000 of 30,000 | 842 | 0123456789ab |",
        "Excluded before anything was computed: batch: FCA4, FCA13; genotype: DGRP-551.",
        "whole samples (head:s1, head:s2), 1,200 cells, of which 640 were scored.",
        "| masked genes | 5.250 |",
        "| the same from gene frequencies within the source | 6.125 |",
        "| the same from gene frequencies | 6.500 |",
        "nats a cell | 0.310 |",
    ):
        assert words in " ".join(card.split("\n")) or words in card, words
    assert "None" not in card
    assert "rest of a cell's counts" not in card
    found = model_card("my-fly", tiny_vocabulary, {"held_out": HELD | {"contrast": 2.5}}, PROVENANCE)
    assert "| the rest of a cell's counts, found among those of its sample | 2.500 |" in found


def test_the_profile_code(tiny_vocabulary):
    options = PROVENANCE["options"] | {"code_size": 32, "n_directions": 64}
    card = model_card("my-fly", tiny_vocabulary, {"held_out": HELD}, PROVENANCE | {"options": options})
    assert "cell token (96 numbers) and a profile code (64 and 32)" in card
    assert "profile code" not in model_card("my-fly", tiny_vocabulary, {"held_out": HELD}, PROVENANCE)


def test_what_it_leaves_out(tiny_vocabulary):
    held = {key: value for key, value in HELD.items() if key != "profile"} | {"split_unit": "cell", "samples": []}
    provenance = PROVENANCE | {
        "options": PROVENANCE["options"] | {"objective": "mlm"},
        "settings": {"exclude": {}},
    }
    card = model_card("plain", tiny_vocabulary, {"held_out": held}, provenance)
    assert "computed: nothing." in card
    assert "Held out: single cells, 1,200 cells" in card
    assert "Kullback" not in card
    assert "cell token" not in card
    assert "Theodoris" in card


@pytest.mark.parametrize(
    ("n_new", "genes", "words"),
    [(1200, ["roX1", "Hnf4"], "1,200, such as:\nroX1, Hnf4."), (0, [], "0, such as:\nnone.")],
)
def test_a_model_that_was_gone_on_from(tiny_vocabulary, n_new, genes, words):
    init = {"name": "fly", "sha256": "fedcba9876543210", "n_genes": 2534, "n_new": n_new, "new_genes_such_as": genes}
    card = model_card("my-fly", tiny_vocabulary, {"held_out": HELD}, PROVENANCE | {"init": init})
    assert "went on from `fly` (sha256 fedcba987654), which knew 2,534 genes" in card
    assert f"Genes new here: {words}\n\nExcluded" in card
    assert "\n\n\n" not in card


@pytest.mark.parametrize("character", ["\t", "\n\n\n"])
def test_is_clean_markdown(tiny_vocabulary, character):
    assert character not in model_card("my-fly", tiny_vocabulary, {"held_out": HELD}, PROVENANCE)
