"""Names that other programs have changed are read where they can stand for one gene only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scflyformer.genes._coverage import spelling_words
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._spelling import as_words, r_spellings
from scflyformer.genes._vocabulary import Vocabulary

GENES = [
    ("FBgn0000001", "mt:CoI", "CG34067"),
    ("FBgn0000002", "Su(var)3-9", ""),
    ("FBgn0000003", "5-HT1A", ""),
    ("FBgn0000004", "if", ""),
    ("FBgn0000005", "a-b", ""),
    ("FBgn0000006", "a:b", ""),
    ("FBgn0000007", "w", "CG2759|white"),
    ("FBgn0000008", "nan", ""),
    ("FBgn0000009", "x_y", ""),
]


@pytest.fixture
def vocabulary() -> Vocabulary:
    ids, symbols, synonyms = (np.array(column, dtype=str) for column in zip(*GENES, strict=True))
    return Vocabulary(ids, symbols, np.ones(len(ids), np.float32), np.ones(len(ids), np.int64), synonyms)


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("mt.CoI", 0),  # make.names
        ("Su.var.3.9", 1),
        ("X5.HT1A", 2),
        ("5.HT1A", 2),
        ("if.", 3),
        ("x-y", 8),  # Seurat
        ("FBgn0000007|w", 6),
        ("FBgn0000007|newer", 6),
        ("w::FBgn0000007", 6),
        ("FBgn0000007;w", 6),
        ("FBgn0000007_w", 6),
        ("FBgn0000007-white", 6),
        ("FBgn0000007.2", 6),
        ("w|CG2759", 6),
        ("white w", 6),
    ],
)
def test_read_as_the_only_gene(vocabulary, name, gene):
    found = resolve_genes([name], vocabulary)
    assert found.index.tolist() == [gene]
    assert found.by_stage["spelling"] == 1
    assert found.spellings == ((name, vocabulary.names[gene]),)
    assert f"{name!r} as {str(vocabulary.names[gene])!r}" in spelling_words(found, gene_key=None)


@pytest.mark.parametrize(
    "name",
    [
        "a.b",  # two genes
        "FBgn0000007|FBgn0000001",
        "FBgn0000007|FBgn0999999",  # the other one may be meant
        "FBgn0000007|if",  # id and name disagree
        "FBgn0000007-intron",  # something else than the gene
        "antisense_FBgn0000007",
        "w|if",
        "w,unheard",
        "FBgn0999999|w",  # the id says that it is another gene
        "MT.COI",
    ],
)
def test_not_read_where_there_is_doubt(vocabulary, name):
    found = resolve_genes([name], vocabulary)
    assert found.index.tolist() == [-1]
    assert found.unresolved == (name,)
    assert spelling_words(found, gene_key=None) is None


@pytest.mark.parametrize(
    "spelt", ["b'w'", 'b"w"', b"w", '"w"', "'w'", " w", "w\t", "\ufeffw", "w\u00a0", "' w '", np.str_("w")]
)
def test_what_is_around_a_name_is_taken_off(vocabulary, spelt):
    found = resolve_genes([spelt], vocabulary)
    assert found.index.tolist() == [6]
    assert found.by_stage["symbol"] == 1


def test_missing_names_are_not_the_fly_gene(vocabulary):
    missing = ["w", np.nan, None, pd.NA, "", " "]
    assert as_words(missing).tolist() == ["w", None, None, None, None, None]
    assert resolve_genes(["nan"], vocabulary).index.tolist() == [7]
    assert resolve_genes(["nan", "w", "nan"], vocabulary).index.tolist() == [-1, 6, -1]  # missing values as text
    assert not resolve_genes(["nan", "w", "nan"], vocabulary).unknown.any()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("w", set()),
        ("mt:CoI", {"mt.CoI"}),
        ("14-3-3zeta", {"14.3.3zeta", "X14.3.3zeta"}),
        ("in", {"in."}),
        ("x_y", {"x-y"}),
    ],
)
def test_spellings_of_r(name, made):
    assert r_spellings(name) == made
