"""Too few recognised genes stop the work with a remedy that fits; enough do not, on every real data set."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scflyformer.genes._coverage import FLOOR, Coverage, low_counts, require_coverage
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


def check(names, vocabulary, share=float("nan"), **options):
    plain = {"names": names, "gene_key": None, "others": {}, "with_table": False, "model": "fly"}
    return require_coverage(cover(names, vocabulary, share), vocabulary, **plain | options)


def refusal(names, vocabulary, share=float("nan"), **options) -> str:
    with pytest.raises(ValueError, match="model") as caught:
        check(names, vocabulary, share, **options)
    return str(caught.value)


def mended(line: str, names: list[str], vocabulary, column: str | None = None) -> Coverage:
    """What is recognised after the line of code that a message ends with."""
    import types

    import anndata as ad
    import pandas as pd

    var = pd.DataFrame(index=names if column is None else [f"g{n}" for n in range(len(names))])
    if column is not None:
        var[column] = pd.Categorical(names)
    adata = ad.AnnData(np.ones((1, len(names)), np.float32), var=var)
    opened = types.SimpleNamespace(load=lambda name: types.SimpleNamespace(vocabulary=vocabulary))
    exec(line, {"adata": adata, "sf": types.SimpleNamespace(models=opened)})
    return cover(adata.var_names if column is None else adata.var[column], vocabulary)


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
        "n_by_spelling": 0,
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
        assert "genes were found among" in check(names, vocabulary, share)
    else:
        with pytest.raises(ValueError, match=r"at least 10% of either is needed.* Not recognised: 'other0', 'other1'"):
            check(names, vocabulary, share)


def test_remedy_other_column(vocabulary):
    names = [f"stranger{n}" for n in range(N)]
    others = {"poor": names, "FBgn": [f"FBgn{n:07d}" for n in range(196)]}
    said = refusal(names, vocabulary, others=others)
    assert "var['FBgn'] resolves 98% of the model's genes: pass gene_key='FBgn'" in said
    assert "species" not in said and "synonyms" not in said


def test_remedy_case(vocabulary):
    """Capitals explain it: said first, with what matches exactly and a line that works, and nothing else."""
    names = [f"GENE{n}" for n in range(50)]
    said = refusal(names, vocabulary, 0.0)
    assert said.startswith("In var_names 50 of 50 names differ from the model's by capitals alone ('GENE0' for 'Gene0'")
    assert (
        "0 are spelt with the model's capitals and match: 0.0% of the model's 200 genes and 0.0% of the counts" in said
    )
    assert "species" not in said and "synonyms" not in said and "at least 10%" not in said
    line = said[said.index("known = ") :]
    assert mended(line, names, vocabulary).n_vocabulary_mapped == 50
    assert "sf.models.load('fly').vocabulary.names" in line


def test_remedy_case_of_ids_in_a_column(vocabulary):
    names = [f"fbgn{n:07d}" for n in range(150)]
    said = refusal(names, vocabulary, gene_key="id")
    assert said.startswith("In var['id'] 150 of 150 names differ")
    assert mended(said[said.index("known = ") :], names, vocabulary, "id").n_vocabulary_mapped == 150


def test_remedy_case_where_a_column_of_ids_is_at_hand(vocabulary):
    names = [f"GENE{n}" for n in range(150)]
    said = refusal(names, vocabulary, others={"FBgn": [f"FBgn{n:07d}" for n in range(145)]})
    assert "by capitals alone" in said and said.endswith("pass gene_key='FBgn'.")


def test_capitals_of_few_names_do_not_take_the_place_of_the_species(vocabulary):
    """Human symbols agree with some fly symbols but for capitals."""
    names = [f"GENE{n}" for n in range(40)] + [f"HUMAN{n}" for n in range(400)]
    said = refusal(names, vocabulary, 0.0)
    assert said.index("Is this the species") < said.index("40 of 440 names differ")
    assert "known = " not in said


@pytest.mark.parametrize(
    ("spelt", "ends"),
    [
        ("fly_{id}", "'fly_'"),
        ("drosophila_melanogaster_{id}", "'drosophila_melanogaster_'"),
        ("dm6___{symbol}", "'dm6___'"),
        ("{symbol}-dm6", "'-dm6'"),
        ("dm6_{id}.2", "'dm6_'"),  # the version does not stand in the way
        ("dm6_{symbol}.2", r"'dm6_' and '\.2'"),
        ("{symbol}.1", "'.1'"),
        ("{symbol}.{n}", r"'\.\d+'"),
    ],
)
@pytest.mark.parametrize("gene_key", [None, "id"])
def test_remedy_ends_to_strip(vocabulary, spelt, ends, gene_key):
    """A version or a species around the names is named, with a line that takes it off and works."""
    ids = zip(vocabulary.gene_ids, vocabulary.symbols, strict=True)
    names = [spelt.format(id=gene, symbol=symbol, n=n) for n, (gene, symbol) in enumerate(ids)]
    said = refusal(names, vocabulary, gene_key=gene_key)
    found = re.search(
        rf"'[^ ]+' would be recognised without {ends}; so would names for 100% of the model's genes: ", said
    )
    assert found and "species" not in said and "synonyms" not in said
    assert mended(said[found.end() :], names, vocabulary, gene_key).n_vocabulary_mapped == N


def test_names_that_are_missing_stay_missing(vocabulary):
    names = [f"{gene}.1" for gene in vocabulary.symbols] + [np.nan, None, ""]
    assert "would be recognised without '.1'" in refusal(names, vocabulary)


@pytest.mark.parametrize(("prefix", "species"), [("ENSG", "human"), ("ENSMUSG", "mouse"), ("WBGene", "Caenorhabditis")])
def test_remedy_species(vocabulary, prefix, species):
    names = [f"{prefix}{n:011d}" for n in range(50)]
    with pytest.raises(ValueError, match=f"These ids are {species}.*model of that species"):
        check(names, vocabulary)
    said = refusal(names, vocabulary, others={"fly": list(vocabulary.symbols)})
    assert "pass gene_key='fly'" in said and f"These ids are {species}" in said and "make sure that the counts" in said


def test_remedy_synonym_file(vocabulary):
    names = [f"stranger{n}" for n in range(50)]
    with pytest.raises(ValueError, match=r"Is this the species .* sf.settings.synonyms to .* 'flybase'"):
        check(names, vocabulary)
    assert "synonyms" not in refusal(names, vocabulary, with_table=True)


def test_names_that_lost_their_case(vocabulary):
    """Lower-case names still hit some genes, and not always the right ones."""
    names = [f"Gene{n}" if n < 40 else f"gene{n}" for n in range(N)]
    said = refusal(names, vocabulary, 0.2)
    assert "160 of 200 names differ" in said and "40 are spelt with the model's capitals and match: 20.0%" in said


def test_advice_above_the_floor(vocabulary):
    names = [f"Gene{n}" if n < 40 else f"GENE{n}" for n in range(75)]
    said = check(names, vocabulary, 0.2)
    assert "35 of 75 names differ" in said
    assert mended(said[said.index("known = ") :], names, vocabulary).n_vocabulary_mapped == 75
    others = {"FBgn": list(vocabulary.gene_ids)}
    assert "pass gene_key='FBgn'" in check(names, vocabulary, 0.2, others=others)


def test_few_names_fit(vocabulary):
    """Less than half of the vocabulary and of the names: said with its share of the counts and what to do."""
    names = [f"Gene{n}" for n in range(60)] + [f"other{n}" for n in range(100)]
    said = check(names, vocabulary, 0.42)
    assert said.startswith(
        "Only 30% of the model's 200 genes were found among the 160 names in var_names, which hold 42% of your counts"
    )
    assert "pass the object with all genes" in said
    assert "counts" not in check(names, vocabulary)
    versions = [f"{name}.1" if n % 2 else name for n, name in enumerate(vocabulary.symbols)][:150]
    assert "would be recognised without '.1'" in check(versions + [f"other{n}.1" for n in range(50)], vocabulary, 0.4)


@pytest.mark.parametrize(
    ("n_known", "n_other", "share"),
    [(60, 0, 1.0), (60, 50, 0.6), (180, 2000, 0.85), (180, 2000, float("nan"))],
    ids=["panel", "wider panel", "transcriptome", "no counts"],
)
def test_silent_where_most_fits(vocabulary, n_known, n_other, share):
    """A small panel within the vocabulary, or a whole transcriptome around it, is as it should be."""
    names = [f"Gene{n}" for n in range(n_known)] + [f"other{n}" for n in range(n_other)]
    assert check(names, vocabulary, share) is None
    assert low_counts(cover(names, vocabulary, share), gene_key=None) is None


def test_few_counts_in_a_whole_transcriptome(vocabulary):
    """The names are not to blame where most of the vocabulary was found."""
    names = [f"Gene{n}" for n in range(180)] + [f"other{n}" for n in range(2000)]
    said = low_counts(cover(names, vocabulary, 0.38), gene_key=None)
    assert "reads 38% of your counts. The gene names are not to blame: 90% of its 200 genes were found" in said
    assert "gene_key" not in said and "synonyms" not in said


def test_few_counts_in_a_panel(vocabulary):
    names = [f"Gene{n}" for n in range(60)] + [f"other{n}" for n in range(50)]
    said = low_counts(cover(names, vocabulary, 0.38), gene_key="id")
    assert "reads 38% of your counts: it knows 60 of 110 names in var['id']. Not recognised: 'other0'" in said


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


@pytest.mark.parametrize(("n_missed", "hint"), [(0, False), (1, False), (12, True)])
def test_a_column_that_resolves_more_is_named_although_most_genes_are_found(vocabulary, n_missed, hint):
    names = [f"new{n}" if n < n_missed else name for n, name in enumerate(vocabulary.symbols)]
    said = check(names, vocabulary, 0.9, others={"FBgn": list(vocabulary.gene_ids)})
    assert (said is not None) == hint
    assert not hint or "var['FBgn'] resolves 100% of the model's genes: pass gene_key='FBgn'" in said


def real_cover(path, vocabulary, gene_key=None) -> tuple[list[str], Coverage]:
    import anndata as ad

    adata = ad.read_h5ad(path)
    names = list(adata.var_names if gene_key is None else adata.var[gene_key])
    found = resolve_genes(names, vocabulary)
    counts = np.asarray(adata.X.sum(axis=0)).ravel()
    return names, Coverage.of(found, vocabulary, counts_mapped=counts[found.index >= 0].sum(), counts=counts.sum())


@pytest.mark.parametrize("gene_key", [None, "FBgn"])
@pytest.mark.parametrize("name", [*FLY, "fca_gut_180cells", "bageritz_wingdisc_lib1", "bulk_pasilla_ps_rnai"])
def test_real_fly_data_pass(data_dir, fly_vocabulary, name, gene_key):
    """Panels are silent; in transcriptomes and bulk, other genes hold much of the counts, no fault of the names."""
    names, coverage = real_cover(data_dir / "fly" / f"{name}.h5ad", fly_vocabulary, gene_key)
    assert max(coverage.share_vocabulary, coverage.share_counts) > 3 * FLOOR
    assert check(names, fly_vocabulary, coverage.share_counts, gene_key=gene_key) is None
    said = low_counts(coverage, gene_key=gene_key)
    if name in FLY:
        assert said is None
    else:
        assert "names are not to blame" in said and "sf.tl.adapt" in said


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
    names, coverage = real_cover(data_dir / "human" / f"{name}.h5ad", fly_vocabulary, gene_key)
    shares = np.array([coverage.share_vocabulary, coverage.share_counts])
    assert shares.max() < FLOOR / 3
    with pytest.raises(ValueError, match="at least 10% of either is needed"):
        check(names, fly_vocabulary, coverage.share_counts, gene_key=gene_key)
