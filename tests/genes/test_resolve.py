"""Each gene name finds its vocabulary gene by itself, in a fixed order of ways, with its case."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from scflyformer.genes._resolve import resolve_genes, spell_out
from scflyformer.genes._synonyms import SynonymTable
from scflyformer.genes._vocabulary import Vocabulary


def make_vocabulary(genes: list[tuple[str, str, str]]) -> Vocabulary:
    ids, symbols, synonyms = (np.array(column, dtype=str) for column in zip(*genes, strict=True))
    return Vocabulary(ids, symbols, np.ones(len(ids), np.float32), np.ones(len(ids), np.int64), synonyms)


@pytest.fixture
def vocabulary() -> Vocabulary:
    return make_vocabulary(
        [
            ("FBgn0000001", "Drak", "CG32666|drak-old"),
            ("FBgn0000002", "fz2", "CG9739|shared|Dfz2"),
            ("FBgn0000003", "nan", "shared|CG5842"),
            ("FBgn0000004", "Fz2", ""),
            ("FBgn0000005", "twin", ""),
            ("FBgn0000006", "twin", "Drak"),
            ("FBgn0000007", "", "CG7"),
        ]
    )


@pytest.mark.parametrize(
    ("name", "gene", "stage"),
    [
        ("FBgn0000003", 2, "id"),
        ("Drak", 0, "symbol"),  # a symbol wins over another gene's synonym
        ("fz2", 1, "symbol"),
        ("Fz2", 3, "symbol"),
        ("nan", 2, "symbol"),  # a gene, not a missing value
        ("CG32666", 0, "synonym"),
        ("Dmel\\CG9739", 1, "synonym"),
        ("Dmel_CG9739", 1, "synonym"),
        ("CG7", 6, "synonym"),
    ],
)
def test_way(vocabulary, name, gene, stage):
    found = resolve_genes([name], vocabulary)
    assert found.index.tolist() == [gene]
    assert found.by_stage[stage] == 1 == sum(found.by_stage.values())


@pytest.mark.parametrize("name", ["DRAK", "drak", "unheard", "", None, np.nan, pd.NA, "Dmel_", "fbgn0000001"])
def test_not_recognised(vocabulary, name):
    found = resolve_genes([name], vocabulary)
    assert found.index.tolist() == [-1]
    assert found.n_mapped == 0


@pytest.mark.parametrize("name", ["shared", "twin"])
def test_ambiguous_names_stay_out_and_are_counted(vocabulary, name):
    found = resolve_genes([name, "Drak"], vocabulary)
    assert found.index.tolist() == [-1, 0]
    assert (found.n_ambiguous, found.ambiguous) == (1, (name,))


def test_mixed_names_are_each_looked_up(vocabulary):
    found = resolve_genes(["CG5842", "FBgn0000002", "Drak", "what"], vocabulary)
    assert found.index.tolist() == [2, 1, 0, -1]
    assert found.by_stage == {"id": 1, "symbol": 1, "synonym": 1, "table": 0, "spelling": 0}
    assert found.unresolved == ("what",)
    assert found.index.dtype == np.int32


def test_case_pairs_are_reported_not_used(vocabulary):
    found = resolve_genes(["DRAK", "cg32666", "what"], vocabulary)
    assert found.n_mapped == 0
    assert found.n_case == 2
    assert ("DRAK", "Drak") in found.case_pairs


def test_several_names_of_one_gene(vocabulary):
    found = resolve_genes(["Drak", "CG32666", "drak-old", "fz2"], vocabulary)
    assert found.index.tolist() == [0, 0, 0, 1]
    assert found.n_duplicates == 2


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("nAChRα1", "nAChRalpha1"),
        ("nAChR\xce\xb11", "nAChRalpha1"),
        ("Cam\xce\xba", "Camkappa"),
        ("π", "pi"),
        ("\xcf\x80", "pi"),
        ("Ï€", "pi"),  # the same by way of Windows' code page
        ("Δ9", "Delta9"),
        ("\u03bb", "lambda"),
        ("\xb5", "mu"),
        ("é", "é"),
        ("Drak", "Drak"),
    ],
)
def test_spell_out(name, spelled):
    assert spell_out(name) == spelled


@pytest.mark.parametrize("known", ["nAChRα1", "nAChRÎ±1", "nAChRalpha1"])
@pytest.mark.parametrize("place", ["symbol", "synonym"])
def test_greek_letters_in_any_dress(known, place):
    gene = ("FBgn0000001", known, "") if place == "symbol" else ("FBgn0000001", "x", known)
    vocabulary = make_vocabulary([gene, ("FBgn0000002", "other", "")])
    for name in ("nAChRα1", "nAChRÎ±1", "nAChRalpha1"):
        if place == "symbol" or known.isascii() or name == known:
            assert resolve_genes([name], vocabulary).index.tolist() == [0]


class TestTable:
    table = SynonymTable(
        current={"drak-old": "FBgn0999999", "newname": "FBgn0000004"},
        synonyms={"ancient": "FBgn0000002", "CG32666": "FBgn0000003", "elsewhere": "FBgn0888888"},
        ambiguous=frozenset({"both"}),
    )

    @pytest.mark.parametrize(
        ("name", "gene"),
        [
            ("ancient", 1),
            ("newname", 3),
            ("CG32666", 0),  # the vocabulary's own synonym comes first
            ("drak-old", -1),  # today's symbol of a gene outside the vocabulary
            ("elsewhere", -1),
            ("Dmel_ancient", 1),
        ],
    )
    def test_way(self, vocabulary, name, gene):
        assert resolve_genes([name], vocabulary, synonyms=self.table).index.tolist() == [gene]

    def test_ambiguous(self, vocabulary):
        assert resolve_genes(["both"], vocabulary, synonyms=self.table).n_ambiguous == 1


def test_fast_for_a_whole_transcriptome():
    n = 16_000
    vocabulary = make_vocabulary([(f"FBgn{i:07d}", f"gene{i}", f"CG{i}|old{i}") for i in range(n)])
    names = [(f"FBgn{i:07d}", f"gene{i}", f"CG{i}", f"GENE{i}")[i % 4] for i in range(n)]
    begin = time.perf_counter()
    found = resolve_genes(names, vocabulary)
    assert time.perf_counter() - begin < 2  # about 0.1 s; the bound is for a busy machine
    assert found.n_mapped == n * 3 // 4
    assert found.n_case == n // 4
