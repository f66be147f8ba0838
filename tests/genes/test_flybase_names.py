"""Names of FlyBase that a vocabulary lacks find its genes."""

from __future__ import annotations

import gzip
from collections import Counter

import numpy as np
import pytest

from scflyformer.genes._flybase_names import _TABLE, FlyBaseNames
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import Vocabulary


def vocabulary_of(*genes: tuple[str, str, str]) -> Vocabulary:
    ids, symbols, synonyms = (np.array(column, dtype=str) for column in zip(*genes, strict=True))
    return Vocabulary(ids, symbols, np.ones(len(ids), np.float32), np.ones(len(ids), np.int64), synonyms)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return vocabulary_of(("FBgn0000463", "Dl", ""), ("FBgn0010812", "unc-45", ""), ("FBgn0000064", "Ald1", ""))


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("Delta", 0),  # the symbol since 2024
        ("CG3619", 0),
        ("Dmel_CG3619", 0),
        ("FBgn0011411", 0),  # merged into Delta
        ("FBgn0288846", 1),  # unc-45 since its id was changed; the vocabulary has the former one
        ("CG2708", 1),
        ("Aldo", 2),
    ],
)
def test_name_that_the_vocabulary_lacks(vocabulary, name, gene):
    found = resolve_genes([name], vocabulary)
    assert found.index.tolist() == [gene]
    assert found.by_stage["synonym"] == 1


def test_name_of_the_vocabulary_goes_first():
    """A file of the release that the vocabulary is of keeps its names."""
    vocabulary = vocabulary_of(("FBgn0000463", "Dl", ""), ("FBgn0000001", "Delta", "Aldo"), ("FBgn0000064", "Ald1", ""))
    assert resolve_genes(["Delta", "Aldo", "Dl"], vocabulary).index.tolist() == [1, 1, 0]


def test_both_ids_of_a_gene(vocabulary):
    """Where the vocabulary has the former and the current id, each id finds its own, other names the current one."""
    both = vocabulary_of(("FBgn0010812", "unc-45", ""), ("FBgn0288846", "", ""))
    assert resolve_genes(["FBgn0010812", "FBgn0288846", "CG2708"], both).index.tolist() == [0, 1, 1]
    # former ids of one gene alone: which of them is meant cannot be told
    former = vocabulary_of(("FBgn0010812", "", ""), ("FBgn0037545", "", ""))
    assert resolve_genes(["FBgn0288846"], former).index.tolist() == [-1]


def test_other_species_have_no_such_names():
    human = vocabulary_of(("ENSG00000198719", "DLL1", ""))
    assert FlyBaseNames(human).find("Delta") == -1
    assert resolve_genes(["Delta"], human).unknown.tolist() == [True]


def test_table_names_one_gene_each():
    """The packed table is sound: no name twice, no id that is not FlyBase's."""
    comment, heading, *lines = gzip.decompress(_TABLE.read_bytes()).decode().splitlines()
    assert "FB2025_03" in comment and "CC BY 4.0" in comment and heading == "name\tgene_id"
    names, genes = zip(*(line.split("\t") for line in lines), strict=True)
    assert len(names) > 40_000 and max(Counter(names).values()) == 1
    assert all(gene.startswith("FBgn") for gene in genes)


@pytest.mark.parametrize("name", ["Dsk", "FBgn9999999", "nothing"])
def test_gene_outside_the_vocabulary(vocabulary, name):
    assert FlyBaseNames(vocabulary).find(name) == -1
