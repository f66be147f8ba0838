"""Passing proves: vocabulary, medians and panels are those of the sources, and whole samples are held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scflyformer.genes._synonyms import SynonymTable
from scflyformer.genes._vocabulary import N_SPECIAL, Vocabulary
from scflyformer.training._corpus import add_synonyms, build_store, split_samples
from scflyformer.training._sources import CorpusRequest


@pytest.fixture
def build(tmp_path):
    def call(sources, vocabulary=None, **asked):
        request = CorpusRequest(**({"min_cells": 1, "new_genes": "ignore"} | asked))
        folder = tmp_path / f"store{len(list(tmp_path.iterdir()))}"
        return build_store(sources, folder, request, vocabulary=vocabulary)

    return call


def random_counts(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(1.5, shape)


def test_one_source(make_source, describe, build):
    counts = random_counts((40, 5))
    adata = make_source(counts, ["d", "a", "c", "e", "b"])
    store, vocabulary, samples = build([describe("x", adata)])
    assert vocabulary.gene_ids.tolist() == ["a", "b", "c", "d", "e"]
    order = [1, 4, 2, 0, 3]
    assert vocabulary.n_cells.tolist() == (counts > 0).sum(0)[order].tolist()
    scaled = counts / counts.sum(1, keepdims=True).clip(1) * 10_000
    medians = [np.median(gene[gene > 0]) for gene in scaled.T[order]]
    np.testing.assert_allclose(vocabulary.medians, medians, rtol=1e-5)
    np.testing.assert_array_equal(store.lengths, (counts > 0).sum(1))
    assert samples.tolist() == [""] * 40


def test_other_panels(make_source, describe, build):
    """What a source did not measure is in neither its median nor its panel; cells come in the order of the sources."""
    one = make_source(random_counts((50, 3)), ["a", "b", "c"], lane=["p"] * 50)
    other = make_source(random_counts((20, 3), 1), ["b", "c", "d"], lane=["q"] * 20)
    sources = [describe("x", one, sample_key="lane"), describe("y", other, sample_key="lane")]
    store, vocabulary, samples = build(sources)
    assert vocabulary.gene_ids.tolist() == ["a", "b", "c", "d"]
    assert store.panels.tolist() == [[True, True, True, False], [False, True, True, True]]
    assert store.source.tolist() == [0] * 50 + [1] * 20
    assert samples.tolist() == ["x:p"] * 50 + ["y:q"] * 20
    alone = build([sources[0]])[1]
    assert vocabulary.medians[0] == alone.medians[0]
    assert vocabulary.n_cells[0] == alone.n_cells[0]
    assert 3 + N_SPECIAL not in store.rows(np.arange(50)).tokens
    assert 0 + N_SPECIAL not in store.rows(np.arange(50, 70)).tokens


def test_excluded_cells_are_in_nothing(make_source, describe, build):
    counts = random_counts((60, 4))
    adata = make_source(counts, list("abcd"), batch=["keep", "drop", "keep"] * 20)
    _, vocabulary, samples = build([describe("x", adata, exclude={"batch": ["drop"]}, sample_key="batch")])
    kept = counts[adata.obs["batch"] == "keep"]
    _, expected, _ = build([describe("x", make_source(kept, list("abcd")))])
    assert set(samples) == {"x:keep"}
    np.testing.assert_array_equal(vocabulary.medians, expected.medians)
    np.testing.assert_array_equal(vocabulary.n_cells, expected.n_cells)


def test_genes_without_id_and_genes_named_twice(make_source, describe, build):
    counts = random_counts((30, 4))
    adata = make_source(counts, list("abcd"))
    adata.var["id"] = ["G1", None, "G2", "G1"]
    store, vocabulary, _ = build([describe("x", adata, gene_key="id")])
    assert vocabulary.gene_ids.tolist() == ["G1", "G2"]
    assert vocabulary.symbols.tolist() == ["a", "c"] or vocabulary.symbols.tolist() == ["d", "c"]
    merged = np.c_[counts[:, 0] + counts[:, 3], counts[:, 2]]
    assert vocabulary.n_cells.tolist() == (merged > 0).sum(0).tolist()
    np.testing.assert_array_equal(store.lengths, (merged > 0).sum(1))


def test_min_cells(make_source, describe, build):
    counts = np.zeros((10, 3), dtype=int)
    counts[:, 0], counts[:4, 1], counts[:3, 2] = 2, 1, 1
    source = describe("x", make_source(counts, list("abc")))
    assert build([source], min_cells=4)[1].gene_ids.tolist() == ["a", "b"]
    with pytest.raises(
        ValueError, match=r"No gene is expressed in min_cells=11 cells of the corpus \(10 cells, 3 genes"
    ):
        build([source], min_cells=11)


def test_a_corpus_of_empty_cells(make_source, describe, build):
    with pytest.raises(ValueError, match="No gene is expressed in min_cells=1 cells"):
        build([describe("x", make_source(np.zeros((5, 3)), list("abc")))])


def test_the_first_source_with_a_symbol_names_the_gene(make_source, describe, build):
    sources = []
    for number, names in enumerate((["", "fz2"], ["Drak", "frizzled2"])):
        adata = make_source(random_counts((20, 2), number), ["FBgn1", "FBgn2"])
        adata.var["symbol"] = names
        sources.append(describe(f"s{number}", adata))
    assert build(sources)[1].symbols.tolist() == ["Drak", "fz2"]


def test_log_values_give_the_same_tokens(make_source, describe, build):
    counts = random_counts((40, 6)) + np.eye(40, 6, dtype=int)
    raw = make_source(counts, list("abcdef"))
    logged = make_source(np.log1p(counts / counts.sum(1, keepdims=True) * 10_000), list("abcdef"))
    first, second = (build([describe("x", adata)]) for adata in (raw, logged))
    np.testing.assert_allclose(first[1].medians, second[1].medians, rtol=1e-4)
    np.testing.assert_array_equal(first[0].lengths, second[0].lengths)


def test_values_that_are_no_expression_name_their_source(make_source, describe, build):
    good = describe("good", make_source(random_counts((9, 2)), ["a", "b"]))
    bad = describe("bad", make_source(np.array([[0.5, -1.2], [0.1, 2.0]]), ["a", "b"]))
    with pytest.raises(ValueError, match="bad: X holds negative values"):
        build([good, bad])


@pytest.fixture
def known() -> Vocabulary:
    """A vocabulary to go on from, with a symbol and a synonym for each of two genes."""
    return Vocabulary(
        gene_ids=np.array(["FBgn1", "FBgn2"]),
        symbols=np.array(["Drak", "fz2"]),
        medians=np.array([3, 7], np.float32),
        n_cells=np.array([5, 6]),
        synonyms=np.array(["CG32666", "CG9739|Dfz2"]),
    )


def test_a_name_goes_before_an_annotation_id(make_source, describe, build):
    """Whichever source comes first; a gene that all of them call by its annotation id keeps it."""
    first = make_source(random_counts((30, 3)), ["CG9310", "CG2", "CR40469"])
    second = make_source(random_counts((30, 3)), ["Hnf4", "two", "CR40469"])
    for each in (first, second):
        each.var["id"] = ["FBgn1", "FBgn2", "FBgn3"]
    sources = [describe("x", first, gene_key="id"), describe("y", second, gene_key="id")]
    assert build(sources)[1].symbols.tolist() == ["Hnf4", "two", "CR40469"]


@pytest.mark.parametrize("names", [["FBgn2", "FBgn1"], ["fz2", "Drak"], ["CG9739", "CG32666"]])
def test_a_known_vocabulary_is_kept_and_its_names_are_found(make_source, describe, build, known, names):
    counts = random_counts((30, 3))
    store, vocabulary, _ = build([describe("x", make_source(counts, [*names, "new"]))], vocabulary=known)
    assert vocabulary is known
    np.testing.assert_array_equal(store.medians, [3, 7])
    np.testing.assert_array_equal(store.lengths, (counts[:, :2] > 0).sum(1))
    tokens = store.rows(np.flatnonzero((counts[:, 0] > 0) & (counts[:, 1] == 0))).tokens
    assert set(tokens.tolist()) == {1 + N_SPECIAL}


def test_a_known_vocabulary_of_another_species(make_source, describe, build, known):
    with pytest.raises(ValueError, match=r"x: none of its genes \(such as TP53, ACTB\).*\(such as Drak, fz2\)"):
        build([describe("x", make_source(random_counts((9, 2)), ["TP53", "ACTB"]))], vocabulary=known)


def test_synonyms_are_added_and_kept(known):
    table = SynonymTable(
        current={"Drak": "FBgn1", "other": "FBgn9"},
        synonyms={"drak-old": "FBgn1", "fz2": "FBgn1", "a|b": "FBgn1", "Dfz2": "FBgn2"},
        ambiguous=frozenset(),
    )
    assert add_synonyms(known, table).synonyms.tolist() == ["CG32666|drak-old", "CG9739|Dfz2"]


@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=12),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_whole_samples_are_held_out(sizes, share, seed):
    samples = np.random.default_rng(0).permutation(np.repeat([f"x:{n}" for n in range(len(sizes))], sizes))
    try:
        train, held, unit = split_samples(samples, share, seed)
    except ValueError as error:
        assert "holds" in str(error)  # one sample was so large that nothing else was left
        return
    assert unit == "sample"
    assert sorted([*train, *held]) == list(range(len(samples)))
    assert not set(samples[train]) & set(samples[held])
    assert len(held) <= share * len(samples) or len(set(samples[held])) == 1
    again = split_samples(samples, share, seed)
    assert np.array_equal(again[1], held)


@pytest.mark.parametrize("named", [["s2"], ["x:s2"], ["s2", "y:s3"]])
def test_named_samples(named):
    samples = np.array(["x:s1", "x:s2", "y:s2", "y:s3"])
    expected = {"s2": [1, 2], "x:s2": [1], "y:s3": [3]}
    train, held, unit = split_samples(samples, named, 0)
    assert held.tolist() == sorted(place for name in named for place in expected[name])
    assert sorted([*train, *held]) == [0, 1, 2, 3]
    assert unit == "sample"


@pytest.mark.parametrize("samples", [["", "", "", "", ""], ["x:s1"] * 5])
def test_single_cells_where_there_is_one_sample_or_none(samples):
    train, held, unit = split_samples(np.array(samples), 0.4, 0)
    assert (len(train), len(held), unit) == (3, 2, "cell")


@pytest.mark.parametrize(
    ("samples", "validation", "match"),
    [
        (["x:a", "x:b"], 0, r"validation=0 must be a share above 0 and below 1"),
        (["x:a", "x:b"], 1, r"validation=1 must be a share"),
        (["x:a", "x:b"], 1.5, r"must be a share"),
        (["x:a", "x:b"], float("nan"), r"must be a share"),
        (["x:a", "x:b"], True, r"must be a share"),
        (["x:a", "x:b"], ["c"], r"not there: \['c'\]; there are \['x:a', 'x:b'\]"),
        (["x:a", "x:b"], ["a", "b"], r"leaves 0 cells to train on and holds 2 out, of 2 cells in 2 sample"),
        (["x:a", "x:b"], [], r"leaves 2 cells to train on and holds 0 out"),
        (["", ""], ["a"], r"pass the column that holds them as sample_key"),
        ([""], 0.5, r"leaves 0 cells to train on and holds 1 out, of 1 cells"),
        (["x:a"] * 5, ["a"], r"leaves 0 cells to train on"),
    ],
)
def test_splits_that_cannot_be(samples, validation, match):
    with pytest.raises(ValueError, match=match):
        split_samples(np.array(samples), validation, 0)
