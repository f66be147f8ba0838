"""Passing proves: a vocabulary comes back from its table as it was, damaged tables are refused, padding is no gene."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.genes._vocabulary import N_SPECIAL, PAD, SPECIALS, Vocabulary
from scflyformer.tokens._rank import rank_tokens

FIELDS = ("gene_ids", "symbols", "medians", "n_cells", "synonyms")
names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)


def make(**changed) -> Vocabulary:
    fields = {
        "gene_ids": np.array(["FBgn1", "FBgn2", "FBgn3"]),
        "symbols": np.array(["Drak", "", "nan"]),
        "medians": np.array([1.5, 20, 3], np.float32),
        "n_cells": np.array([5, 6, 7]),
        "synonyms": np.array(["CG1|a", "", "NA"]),
    }
    return Vocabulary(**(fields | changed))


@pytest.fixture
def lines(tmp_path) -> list[str]:
    make().write(tmp_path / "vocab.tsv")
    return (tmp_path / "vocab.tsv").read_text().splitlines()


def same(one: Vocabulary, other: Vocabulary) -> None:
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        assert getattr(one, field).dtype.kind == getattr(other, field).dtype.kind


def test_the_table(lines):
    assert lines[0].split("\t") == ["token_id", "gene_id", "symbol", "median", "n_cells", "synonyms"]
    assert [line.split("\t")[1] for line in lines[1:4]] == list(SPECIALS)
    assert lines[4].split("\t") == ["3", "FBgn1", "Drak", "1.5", "5", "CG1|a"]
    assert (make().n_genes, make().n_tokens) == (3, 6)
    assert make().names.tolist() == ["Drak", "FBgn2", "nan"]


@given(data=st.data())
def test_round_trip(data, tmp_path_factory):
    """Names that look like numbers, missing values or quotes included."""
    ids = data.draw(st.lists(st.one_of(names, st.sampled_from(["007", "1e3", "NA", "nan", '"', "None"])), unique=True))
    n = len(ids)
    column = st.lists(st.one_of(names, st.sampled_from(["", "12", "1.0", "TRUE", "nan"])), min_size=n, max_size=n)
    medians = st.lists(st.floats(1e-3, 1e5), min_size=n, max_size=n)
    vocabulary = Vocabulary(
        gene_ids=np.array(ids, dtype=str),
        symbols=np.array(data.draw(column), dtype=str),
        medians=np.array([float(f"{m:.6g}") for m in data.draw(medians)], dtype=np.float32),
        n_cells=np.arange(n),
        synonyms=np.array(data.draw(column), dtype=str),
    )
    path = tmp_path_factory.mktemp("v") / "vocab.tsv"
    vocabulary.write(path)
    same(Vocabulary.read(path), vocabulary)


def test_synonyms_may_be_left_out(lines, tmp_path):
    path = tmp_path / "short.tsv"
    path.write_text("\n".join(line.rpartition("\t")[0] for line in lines))
    same(Vocabulary.read(path), make(synonyms=np.array(["", "", ""])))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda rows: [row.replace("median", "middle") for row in rows], r"lacks the column\(s\) \['median'\]"),
        (lambda rows: [rows[0], *rows[2:]], "token ids must run from 0 to 4 in order"),
        (lambda rows: [rows[0], *reversed(rows[1:])], "token ids must run from 0 to 5 in order"),
        (lambda rows: [row.replace("<mask>", "mask") for row in rows], "first rows must be the special tokens"),
        (lambda rows: [row.replace("FBgn2", "FBgn1") for row in rows], "the same gene id more than once"),
        (lambda rows: [row.replace("\t1.5\t", "\t0\t") for row in rows], "medians that are not positive and finite"),
        (lambda rows: [row.replace("\t1.5\t", "\tinf\t") for row in rows], "medians that are not positive and finite"),
        (lambda rows: [row.replace("\t1.5\t", "\tmany\t") for row in rows], "many"),
    ],
)
def test_damaged_tables(lines, tmp_path, change, match):
    path = tmp_path / "bad.tsv"
    path.write_text("\n".join(change(lines)))
    with pytest.raises(ValueError, match=match):
        Vocabulary.read(path)


@given(
    st.lists(st.lists(st.integers(0, 19), unique=True, max_size=20), max_size=8), st.integers(0, 9), st.integers(1, 25)
)
def test_padding_is_never_a_gene(cells, seed, max_len):
    """Rows hold no token below the special ones, and in the matrix of tokens padding alone is zero."""
    random = np.random.default_rng(seed)
    genes = np.array([gene for cell in cells for gene in cell], dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])]).astype(np.int64)
    counts = random.integers(1, 5, len(genes)).astype(np.float32)
    rows = rank_tokens(indptr, genes, counts, random.uniform(0.5, 5, 20).astype(np.float32))
    assert PAD not in rows.tokens
    assert (rows.tokens >= N_SPECIAL).all()
    matrix = rows.to_csr(max_len)
    assert (matrix.data != PAD).all()
    np.testing.assert_array_equal((matrix.toarray() != PAD).sum(1), np.minimum(rows.lengths, max_len))
