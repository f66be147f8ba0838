"""Of each fly gene the human genes of the highest score, from any of the tables that are read."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest

from scflyformer.genes import _orthologs
from scflyformer.genes._orthologs import read_orthologs

PLAIN = "fly\thuman\tscore\nFBgn1\tB1\t7\nFBgn1\tA1\t7\nFBgn1\tC1\t3\nFBgn2\tD1\t2.5\nFBgn3\t-\t9\nFBgn1\tA1\t7\n"
FLYBASE = """## FlyBase D. melanogaster-Human Orthologs and associated diseases report
## Generated: today
## Using datasource: dbi...

##Dmel_gene_ID\tDmel_gene_symbol\tHuman_gene_HGNC_ID\tHuman_gene_OMIM_ID\tHuman_gene_symbol\tDIOPT_score\tOMIM_Phenotype_IDs
FBgn1\tnan\tHGNC:1\t\tB1\t10\t
FBgn1\tnan\tHGNC:2\t\tA1\t10\t1,2
FBgn1\tnan\tHGNC:3\t\tC1\t9
FBgn2\t"q\tHGNC:4\t\tD1\t2\t
FBgn3\tsame\tHGNC:5\t\tE1\t2\t
FBgn4\tsame\tHGNC:5\t\tE1\t2\t
## Finished report
"""
BABELGENE = """human_symbol\tsymbol\tensembl\tsupport\tsupport_n
B1\tnan\tFBgn1\tX|Y\t2
A1\tnan\tFBgn1\tX|Z\t2
NA\tx\tFBgn2\tX|Y\t2
"""


def rows(found, names):
    table = found.of(names)
    assert list(table) == ["human_symbol", "human_score"]
    assert table["human_score"].dtype == float
    return [
        (symbol, None if np.isnan(score) else score)
        for symbol, score in zip(table["human_symbol"], table["human_score"], strict=True)
    ]


def test_the_best_with_ties_in_the_order_of_the_alphabet(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(PLAIN)
    found = read_orthologs(path)
    assert rows(found, ["FBgn2", "FBgn1", "FBgn3", "FBgn9", "FBgn1"]) == [
        ("D1", 2.5), ("A1|B1", 7.0), ("", None), ("", None), ("A1|B1", 7.0),
    ]  # fmt: skip
    assert rows(found, []) == []


def test_sets_of_genes():
    found = read_orthologs(pd.DataFrame({"fly": ["F1", "F2"], "human": ["A", "B"], "score": [5, 3]}))
    assert rows(found, ["F2+F1", "F1+F9", "F8+F9"]) == [("B+A", 3.0), ("A+-", None), ("", None)]


@pytest.mark.parametrize("packed", [False, True])
def test_the_file_of_flybase(tmp_path, packed):
    """The heading is a comment, rows may be cut short, and a symbol stands for a gene if it is that of one alone."""
    path = tmp_path / "orthologs.txt"
    path.write_bytes(gzip.compress(FLYBASE.encode()) if packed else FLYBASE.encode())
    found = read_orthologs(str(path))
    assert rows(found, ["FBgn1", "nan", '"q', "FBgn3", "same"]) == [
        ("A1|B1", 10.0), ("A1|B1", 10.0), ("D1", 2.0), ("E1", 2.0), ("", None),
    ]  # fmt: skip


def test_the_table_of_babelgene(tmp_path):
    path = tmp_path / "orthologs.tsv"
    path.write_text(BABELGENE)
    assert rows(read_orthologs(path), ["FBgn1", "nan", "FBgn2"]) == [("A1|B1", 2.0), ("A1|B1", 2.0), ("", None)]


def test_missing_names_of_a_frame_are_left_out_and_the_frame_stays():
    table = pd.DataFrame({"fly": ["nan", None, "F3"], "human": ["A", "B", np.nan], "score": ["1", "x", None]})
    before = table.copy()
    assert rows(read_orthologs(table), ["nan", "None", "F3"]) == [("A", 1.0), ("", None), ("", None)]
    pd.testing.assert_frame_equal(table, before)


def test_categories_are_names_too():
    table = pd.DataFrame({"fly": ["F1", "F2"], "human": ["A", "B"], "score": [1, 2]}).astype("category")
    assert rows(read_orthologs(table), ["F2"]) == [("B", 2.0)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"fly": ["F1"], "gene": ["A"]},
            r"has the columns \['fly', 'gene'\]; expected the columns fly, human and score",
        ),
        ({"fly": ["F1"], "human": ["A"], "score": ["high"]}, "score of F1 and A is 'high'; expected a number"),
        ({"fly": ["F1"], "human": ["A"], "score": [np.nan]}, "score of F1 and A is nan; expected a number"),
        ({"fly": ["F1"], "human": ["-"], "score": [1]}, "lists no pair"),
    ],
)
def test_tables_that_cannot_be_read(table, message):
    with pytest.raises(ValueError, match=message):
        read_orthologs(pd.DataFrame(table))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"has the columns \[\]; expected"),
        (b"a\tb\n1\t2\n", r"has the columns \['a', 'b'\]"),
        (gzip.compress(FLYBASE.encode())[:-20], "not a readable text table"),
        (b"\x89PNG\xff\xfe", "not a readable text table"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "broken.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_orthologs(path)


def test_no_such_source(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No table of orthologues at .*Human\. Pass 'human', or a DataFrame"):
        read_orthologs(str(tmp_path / "Human"))
    with pytest.raises(TypeError, match="orthologs is a bool; expected 'human'"):
        read_orthologs(True)


def test_human_is_the_file_of_flybase_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFLYFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(_orthologs, "_URL", "http://127.0.0.1:9/{release}/{file}")
    file = tmp_path / "flybase" / "dmel_human_orthologs_disease_fb_2025_01.tsv.gz"
    with pytest.raises(ConnectionError, match=r"/FB2025_01/dmel_human_orthologs_disease_fb_2025_01\.tsv\.gz"):
        read_orthologs("human")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(FLYBASE.encode()))
    assert rows(read_orthologs("human"), ["FBgn2"]) == [("D1", 2.0)]


def test_a_whole_table(data_dir):
    """Of babelgene: two thirds of the genes of `fly-tiny` and more have an orthologue, Drak two (DRAK1, DRAK2)."""
    import scflyformer as sf

    found = read_orthologs(data_dir / "tables" / "orthologs_human_fly_babelgene22.9.tsv.gz")
    genes = found.of(sf.models.load("fly-tiny").vocabulary.gene_ids)
    assert 0.66 < (genes["human_symbol"] != "").mean() < 0.95
    assert rows(found, ["Drak", "fz2"]) == [("STK17A|STK17B", 2.0), ("FZD5", 8.0)]
