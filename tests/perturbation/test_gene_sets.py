"""Gene sets as they are asked for, numbered, and the names that genes are told apart by."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from scflyformer.genes._vocabulary import N_SPECIAL, PAD
from scflyformer.perturbation._gene_sets import SetTable, distinct_names, near_name, read_gene_sets, read_pairs


def test_a_set_that_comes_twice_has_one_number() -> None:
    table = SetTable()
    assert [table.add(tokens) for tokens in [(5,), (7, 5), (5,), (5, 7)]] == [0, 1, 0, 2]
    assert table.matrix().tolist() == [[5, PAD], [7, 5], [5, 7]]


def test_gene_sets_by_any_name_once_each(tiny_vocabulary) -> None:
    model = SimpleNamespace(vocabulary=tiny_vocabulary, name="tiny")
    asked = {"two": ["tiny2", "FBgn9900001", "CG2", "none"], "one": "tiny3", "lost": ["nobody"]}
    sets, unknown = read_gene_sets(asked, model, None)
    tokens = {gene_set.name: gene_set.tokens for gene_set in sets}
    assert tokens == {"two": (N_SPECIAL + 1, N_SPECIAL), "one": (N_SPECIAL + 2,)}
    assert unknown == ["none", "nobody"]
    pairs = read_pairs([("tiny1", "tiny2"), ("FBgn9900002", "tiny1"), ("tiny1", "tiny5")], sets, model, None)
    assert [pair.tokens for pair in pairs] == [(3, 4), (3, 7)]  # the second is the first, the other way round
    assert all(pair.is_pair for pair in pairs) and not any(gene_set.is_pair for gene_set in sets)
    with pytest.raises(ValueError, match="two different genes"):
        read_pairs([("tiny1", "CG1")], [], model, None)
    with pytest.raises(ValueError, match="Did you mean 'tiny12' for 'Tiny12'"):
        read_gene_sets(["Tiny12"], model, None)


@pytest.mark.parametrize(("name", "near"), [("TINY12", "tiny12"), ("tiny12x", "tiny12"), ("stranger", ""), ("", "")])
def test_near_names(tiny_vocabulary, name: str, near: str) -> None:
    assert near_name(name, tiny_vocabulary) == near


def test_genes_of_one_name_go_by_their_ids() -> None:
    names, ids = np.array(["a", "b", "a"], dtype=object), np.array(["F1", "F2", "F3"])
    assert distinct_names(SimpleNamespace(names=names, gene_ids=ids)).tolist() == ["F1", "b", "F3"]
