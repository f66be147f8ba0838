"""Too few recognised genes stop the work with a remedy that fits; enough do not, on every real data set."""

from __future__ import annotations

import numpy as np
import pytest

from scflyformer.genes._coverage import FLOOR, Coverage, require_coverage
from scflyformer.genes._resolve import resolve_genes
from scflyformer.genes._vocabulary import Vocabulary

N = 200


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    numbers = range(N)
    return Vocabulary(
        gene_ids=np.array([f"FBgn{n:07d}" for n in numbers]),
        symbols=np.array([f"Gene{n}" for n in numbers]),
        medians=np.ones(N, np.float32),
        n_cells=np.ones(N, np.int64),
        synonyms=np.array([f"CG{n}" for n in numbers]),
    )


def cover(names, vocabulary, share=float("nan")) -> Coverage:
    return Coverage.of(resolve_genes(names, vocabulary), vocabulary, counts_mapped=share, counts=1.0)


def check(coverage, vocabulary, **options):
    return require_coverage(
        coverage, vocabulary, **{"column": "var_names", "others": {}, "with_table": False} | options
    )


def test_report(vocabulary):
    coverage = cover(["FBgn0000001", "Gene1", "Gene2", "CG3", "what"], vocabulary, share=0.75)
    assert coverage.n_vocabulary_mapped == 3
    report = coverage.report()
    assert report == {
        "n_genes": 5,
        "n_genes_mapped": 4,
        "n_by_id": 1,
        "n_by_symbol": 2,
        "n_by_synonym": 1,
        "n_by_table": 0,
        "n_ambiguous": 0,
        "n_collapsed": 1,
        "n_vocabulary": N,
        "n_vocabulary_mapped": 3,
        "share_vocabulary": 3 / N,
        "share_counts": 0.75,
        "unmapped_examples": "what",
    }
    assert str(coverage) == (
        "4 of 5 genes recognised (1 by id, 2 by symbol, 1 by synonym): 1.5% of the model's 200 genes, 75.0% of the "
        "counts; 1 further names of the same genes were added up"
    )


@pytest.mark.parametrize(
    ("n_known", "share", "enough"),
    [
        (0, 0.0, False),
        (0, float("nan"), False),
        (5, 0.01, False),
        (5, FLOOR, True),  # a small panel that lies in the vocabulary
        (int(FLOOR * N), 0.01, True),  # much of the vocabulary amid other genes
        (5, float("nan"), False),
        (int(FLOOR * N), float("nan"), True),  # no counts at all
    ],
)
def test_floor(vocabulary, n_known, share, enough):
    names = [f"Gene{n}" for n in range(n_known)] + [f"other{n}" for n in range(300)]
    coverage = cover(names, vocabulary, share)
    assert coverage.enough == enough
    if enough:
        assert check(coverage, vocabulary) is None
    else:
        with pytest.raises(ValueError, match=r"at least 10% of either is needed.* Not recognised: 'other0', 'other1'"):
            check(coverage, vocabulary)


def test_remedy_other_column(vocabulary):
    names = [f"stranger{n}" for n in range(N)]
    others = {"poor": names, "FBgn": [f"FBgn{n:07d}" for n in range(196)]}
    with pytest.raises(ValueError, match=r"var\['FBgn'\] resolves 98% of the model's genes: pass gene_key='FBgn'"):
        check(cover(names, vocabulary), vocabulary, others=others)


def test_remedy_case(vocabulary):
    names = [f"GENE{n}" for n in range(50)]
    with pytest.raises(ValueError, match=r"50 names differ from the model's by case only \('GENE0' for 'Gene0'"):
        check(cover(names, vocabulary), vocabulary)


@pytest.mark.parametrize(("prefix", "species"), [("ENSG", "human"), ("ENSMUSG", "mouse"), ("WBGene", "Caenorhabditis")])
def test_remedy_species(vocabulary, prefix, species):
    names = [f"{prefix}{n:011d}" for n in range(50)]
    with pytest.raises(ValueError, match=f"These ids are {species}.*model of that species"):
        check(cover(names, vocabulary), vocabulary)


def test_remedy_synonym_file(vocabulary):
    names = [f"stranger{n}" for n in range(50)]
    with pytest.raises(ValueError, match=r"Is this the species .* synonyms='flybase'"):
        check(cover(names, vocabulary), vocabulary)
    with pytest.raises(ValueError, match="Is this the species") as caught:
        check(cover(names, vocabulary), vocabulary, with_table=True)
    assert "synonyms" not in str(caught.value)


def test_names_that_lost_their_case(vocabulary):
    """Lower-case names still hit some genes, and not always the right ones."""
    names = [f"Gene{n}" if n < 40 else f"gene{n}" for n in range(N)]
    with pytest.raises(ValueError, match=r"in the model's case\. .* 160 names differ from the model's by case only"):
        check(cover(names, vocabulary, 0.2), vocabulary)


def test_advice_above_the_floor(vocabulary):
    names = [f"Gene{n}" if n < 40 else f"GENE{n}" for n in range(75)]
    assert "35 names differ" in check(cover(names, vocabulary, 0.2), vocabulary)
    others = {"FBgn": list(vocabulary.gene_ids)}
    assert "pass gene_key='FBgn'" in check(cover(names, vocabulary, 0.2), vocabulary, others=others)


FLY = ("davie_brain_aging", "baker_brain", "fca_head", "fca_body")


@pytest.fixture(scope="module")
def fly_vocabulary(data_dir) -> Vocabulary:
    """The union of the four large fly sets with the symbols and synonyms of the shared table."""
    import anndata as ad
    import pandas as pd

    names: dict[str, list[str]] = {}
    for file in FLY:
        var = ad.read_h5ad(data_dir / "fly" / f"{file}.h5ad", backed="r").var
        for gene, symbol in zip(var["FBgn"], var.index, strict=True):
            names.setdefault(gene, []).append(symbol)
    path = data_dir / "tables" / "symbol_to_fbgn_merged.tsv"
    table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=str)
    for symbol, gene in table.itertuples(index=False):
        if gene in names:
            names[gene].append(symbol)
    ids = sorted(names)
    return Vocabulary(
        gene_ids=np.array(ids),
        symbols=np.array([names[gene][0] for gene in ids]),
        medians=np.ones(len(ids), np.float32),
        n_cells=np.ones(len(ids), np.int64),
        synonyms=np.array(["|".join(dict.fromkeys(names[gene][1:])) for gene in ids]),
    )


def real_coverage(path, vocabulary, gene_key=None) -> Coverage:
    import anndata as ad

    adata = ad.read_h5ad(path)
    names = adata.var_names if gene_key is None else adata.var[gene_key]
    found = resolve_genes(names, vocabulary)
    counts = np.asarray(adata.X.sum(axis=0)).ravel()
    return Coverage.of(found, vocabulary, counts_mapped=counts[found.index >= 0].sum(), counts=counts.sum())


@pytest.mark.parametrize("gene_key", [None, "FBgn"])
@pytest.mark.parametrize("name", [*FLY, "fca_gut_180cells", "bageritz_wingdisc_lib1", "bulk_pasilla_ps_rnai"])
def test_real_fly_data_pass(data_dir, fly_vocabulary, name, gene_key):
    coverage = real_coverage(data_dir / "fly" / f"{name}.h5ad", fly_vocabulary, gene_key)
    assert max(coverage.share_vocabulary, coverage.share_counts) > 3 * FLOOR
    assert check(coverage, fly_vocabulary) is None


@pytest.mark.parametrize(
    ("name", "gene_key"),
    [
        ("zheng_facs_3874", None),
        ("zheng_facs_3874", "gene_symbol"),
        ("zheng_sorted_scminer_3500", None),
        ("baron_pancreas_human_2142", None),
        ("tms_liver_facs_1779", None),
    ],
)
def test_real_data_of_other_species_stop(data_dir, fly_vocabulary, name, gene_key):
    coverage = real_coverage(data_dir / "human" / f"{name}.h5ad", fly_vocabulary, gene_key)
    shares = np.array([coverage.share_vocabulary, coverage.share_counts])
    assert shares.max() < FLOOR / 3
    with pytest.raises(ValueError, match="at least 10% of either is needed"):
        check(coverage, fly_vocabulary)
