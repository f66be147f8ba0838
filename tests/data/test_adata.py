"""Whatever holds the counts, the same tokens come out, equal to a plain loop over cells; bad input is named."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from mudata_updates import no_pull

from scflyformer import _log
from scflyformer.data import _adata, _chunks, _matrix
from scflyformer.data._reading import Reading
from scflyformer.genes._vocabulary import N_SPECIAL

N_OBS, N_VARS = 30, 65


@pytest.fixture
def model(tiny_vocabulary):
    """What token_rows needs of a model."""
    return SimpleNamespace(name="tiny", path="tiny", sha256="0" * 64, vocabulary=tiny_vocabulary, max_len=47)


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks even for few cells."""
    monkeypatch.setattr(_matrix, "CHUNK_VALUES", 200)
    monkeypatch.setattr(_matrix, "DENSE_VALUES", 1000)
    monkeypatch.setattr(_matrix, "DISK_VALUES", 500)


def gene_of(name, vocabulary):
    """Look a name up one by one: the oracle's way."""
    for gene in range(vocabulary.n_genes):
        known = {vocabulary.gene_ids[gene], vocabulary.symbols[gene], *vocabulary.synonyms[gene].split("|")}
        if name in known:
            return gene
    return None


def oracle(counts, names, vocabulary, max_len=47):
    """Tokens of each cell by plain loops over dense counts."""
    genes = [gene_of(name, vocabulary) for name in names]
    cells = []
    for row in np.asarray(counts):
        sums: dict[int, float] = {}
        for gene, count in zip(genes, row, strict=True):
            if gene is not None and count:
                sums[gene] = sums.get(gene, 0) + count
        ratio = {gene: np.float32(count) / vocabulary.medians[gene] for gene, count in sums.items()}
        ordered = sorted(ratio, key=lambda gene: (-ratio[gene], gene))
        cells.append([gene + N_SPECIAL for gene in ordered][:max_len])
    return cells


def tokens_of(adata, model, **options):
    asked = {name: options.pop(name) for name in ("layer", "gene_key", "synonyms") if name in options}
    rows, _ = _adata.token_rows(adata, model, Reading(**asked), progress=False, **options)
    return [rows.tokens[rows.indptr[i] : rows.indptr[i + 1]].tolist() for i in range(len(rows))]


def log_normalised(adata):
    """log1p(CP10k) as scanpy makes it."""
    import scanpy as sc

    out = adata.copy()
    sc.pp.normalize_total(out, target_sum=1e4)
    sc.pp.log1p(out)
    return out


def twisted(matrix):
    """CSR with unsorted columns, explicit zeros and values split over repeated entries."""
    coo = sp.coo_matrix(matrix)
    half = np.floor(coo.data / 2)
    row = np.concatenate([coo.row, coo.row, np.arange(matrix.shape[0])])
    column = np.concatenate([coo.col, coo.col, np.full(matrix.shape[0], 5)])
    data = np.concatenate([half, coo.data - half, np.zeros(matrix.shape[0])])
    order = np.lexsort([np.random.default_rng(0).permutation(len(row)), row])
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=matrix.shape[0]))])
    out = sp.csr_matrix((data[order], column[order], indptr), shape=matrix.shape)
    assert not out.has_canonical_format or out.nnz < 2  # one entry is always in order
    return out


FORMATS = {
    "csr": sp.csr_matrix,
    "csc": sp.csc_matrix,
    "csr_array": sp.csr_array,
    "csc_array": sp.csc_array,
    "dense": lambda x: x.toarray(),
    "fortran": lambda x: np.asfortranarray(x.toarray()),
    "float64": lambda x: x.astype(np.float64),
    "int64": lambda x: x.astype(np.int64),
    "float16": lambda x: x.toarray().astype(np.float16),
    "int8": lambda x: x.astype(np.int8),
    "uint16": lambda x: x.toarray().astype(np.uint16),
    "twisted": twisted,
}


ONLY_COUNTS = ("int64", "int8", "float16", "uint16", "twisted")  # log values are no integers, nor do they add up


class TestFormats:
    @pytest.fixture(params=["counts", "log1p"])
    def scale(self, request):
        return request.param

    @pytest.fixture
    def expected(self, scale, cells, model):
        """Cells, as counts or as log1p(CP10k) of them, and their tokens by the oracle."""
        wanted = oracle(cells.X.toarray(), cells.var_names, model.vocabulary)
        return (cells if scale == "counts" else log_normalised(cells)), wanted

    @pytest.mark.parametrize(
        ("scale", "name"),
        [("counts", name) for name in FORMATS] + [("log1p", name) for name in FORMATS if name not in ONLY_COUNTS],
    )
    @pytest.mark.parametrize("place", ["X", "layer", "view"])
    def test_in_memory(self, expected, model, small_chunks, scale, name, place):
        adata, wanted = expected
        matrix = FORMATS[name](adata.X)
        other = ad.AnnData(matrix, obs=adata.obs, var=adata.var)
        layer = None
        if place == "layer":
            other = ad.AnnData(None, obs=adata.obs, var=adata.var, layers={"here": matrix})
            layer = "here"
        elif place == "view":
            other = other[np.arange(len(wanted))[::-1]]
            wanted = wanted[::-1]
        before = matrix.copy()
        assert tokens_of(other, model, layer=layer) == wanted
        np.testing.assert_array_equal(getattr(matrix, "data", matrix), getattr(before, "data", before))

    @pytest.mark.parametrize("name", ["csr", "csc", "dense"])
    @pytest.mark.parametrize("place", ["X", "layer", "view"])
    def test_backed(self, expected, model, small_chunks, tmp_path, name, place):
        adata, wanted = expected
        matrix = FORMATS[name](adata.X)
        layers = {"here": matrix}
        ad.AnnData(matrix, obs=adata.obs, var=adata.var, layers=layers).write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        assert backed.isbacked
        try:
            if place == "view":
                assert tokens_of(backed[5:40], model) == wanted[5:40]
            else:
                assert tokens_of(backed, model, layer="here" if place == "layer" else None) == wanted
        finally:
            backed.file.close()

    @pytest.mark.parametrize("name", ["csr", "csc", "dense"])
    def test_zarr(self, expected, model, tmp_path, name):
        adata, wanted = expected
        ad.AnnData(FORMATS[name](adata.X), obs=adata.obs, var=adata.var).write_zarr(tmp_path / "a.zarr")
        assert tokens_of(ad.read_zarr(tmp_path / "a.zarr"), model) == wanted

    def test_mudata(self, expected, model):
        from mudata import MuData

        adata, wanted = expected
        with no_pull():
            data = MuData({"rna": adata, "other": ad.AnnData(np.ones((60, 2), np.float32), obs=adata.obs[[]])})
        assert tokens_of(_adata.open_data(data, mod="rna"), model) == wanted


def make_adata(counts, names):
    counts = np.asarray(counts)
    obs = pd.DataFrame(index=[f"c{n}" for n in range(len(counts))])
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=names))


@st.composite
def small_counts(draw, n_genes=8):
    """Counts of a few cells in the tiny model's first genes, cells without counts among them."""
    n_cells = draw(st.integers(1, 6))
    row = st.lists(st.sampled_from([0, 0, 1, 2, 3, 4, 12]), min_size=n_genes, max_size=n_genes)
    counts = np.array(draw(st.lists(row, min_size=n_cells, max_size=n_cells)))
    # a molecule counted once is what rebuilding goes by
    counts[:, 0] = np.where(counts.any(axis=1), 1, 0)
    return counts


NAMES = [f"tiny{n}" for n in range(1, 9)]


class TestProperties:
    @given(small_counts())
    def test_like_the_oracle(self, model, counts):
        assert tokens_of(make_adata(counts, NAMES), model) == oracle(counts, NAMES, model.vocabulary)

    @given(small_counts(), st.randoms())
    def test_order_of_cells_and_genes(self, model, counts, random):
        rows, columns = list(range(len(counts))), list(range(8))
        random.shuffle(rows)
        random.shuffle(columns)
        mixed = make_adata(counts[np.ix_(rows, columns)], [NAMES[c] for c in columns])
        straight, _ = _adata.token_rows(make_adata(counts, NAMES), model, progress=False)
        moved, _ = _adata.token_rows(mixed, model, progress=False)
        wanted = straight.take(np.array(rows))
        np.testing.assert_array_equal(moved.indptr, wanted.indptr)
        np.testing.assert_array_equal(moved.tokens, wanted.tokens)
        np.testing.assert_array_equal(moved.values, wanted.values)

    @given(small_counts(), st.sampled_from([0.3, 2.0, -1.0, np.nan, 1e9]))
    def test_genes_outside_the_vocabulary(self, model, counts, strange):
        alone = make_adata(counts, NAMES)
        extra = np.full((len(counts), 2), strange)
        among = ad.AnnData(
            np.hstack([counts[:, :4], extra, counts[:, 4:]]).astype(np.float32),
            var=pd.DataFrame(index=[*NAMES[:4], "stranger", "FBgn7777777", *NAMES[4:]]),
        )
        assert tokens_of(among, model) == tokens_of(alone, model)

    @given(small_counts(), st.sampled_from(["log1p", "log2", "cp10k", "fractions"]))
    def test_scale(self, model, counts, scale):
        adata = make_adata(counts, NAMES)
        sums = np.maximum(counts.sum(1, keepdims=True), 1)
        values = counts * (1.0 if scale == "fractions" else 1e4) / sums
        values = {"log1p": np.log1p, "log2": lambda x: np.log2(1 + x)}.get(scale, lambda x: x)(values)
        other = make_adata(values, NAMES)
        assert tokens_of(other, model) == tokens_of(adata, model)
        raw, _ = _adata.token_rows(adata, model, progress=False)
        back, _ = _adata.token_rows(other, model, progress=False)
        np.testing.assert_allclose(back.values, raw.values, rtol=1e-5)

    @given(small_counts(), st.sampled_from(["csc", "dense", "view", "twisted"]), st.integers(1, 40))
    def test_format_and_chunks(self, model, counts, form, size):
        adata = make_adata(counts, NAMES)
        if form == "view":
            big = make_adata(np.vstack([counts, counts]), NAMES)
            other = big[len(counts) :]
        else:
            other = ad.AnnData(FORMATS[form](adata.X), var=adata.var)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_matrix, "CHUNK_VALUES", size)
            assert tokens_of(other, model) == tokens_of(adata, model)


class TestGenes:
    @pytest.mark.parametrize("log", [False, True])
    def test_several_names_of_one_gene_are_added_up(self, model, log):
        rng = np.random.default_rng(0)
        names = ["tiny1", "CG1", "FBgn9900001", "tiny2", "stranger", "old2", "tiny3"]
        counts = rng.integers(0, 5, (20, len(names)))
        counts[:, 6] = 1
        adata = make_adata(counts, names)
        adata = log_normalised(adata) if log else adata
        rows, coverage = _adata.token_rows(adata, model, progress=False)
        assert tokens_of(adata, model) == oracle(counts, names, model.vocabulary)
        assert coverage["n_collapsed"] == 3
        assert coverage["scale"] == ("log1p" if log else "counts")
        assert len(rows) == 20

    def test_the_same_name_twice(self, model):
        counts = np.array([[1, 2, 3], [0, 1, 0]])
        with pytest.warns(UserWarning, match="Variable names are not unique"):
            adata = make_adata(counts, ["tiny1", "tiny2", "tiny1"])
        assert tokens_of(adata, model) == oracle(counts, ["tiny1", "tiny2", "tiny1"], model.vocabulary)

    def test_gene_key(self, cells, model):
        wanted = tokens_of(cells, model)
        cells.var_names = [f"strange{n}" for n in range(cells.n_vars)]
        assert tokens_of(cells, model, gene_key="FBgn") == wanted
        cells.var["FBgn"] = cells.var["FBgn"].astype("category")
        assert tokens_of(cells, model, gene_key="FBgn") == wanted
        with pytest.raises(ValueError, match=r"var\['FBgn'\] resolves 100% of the model's genes: pass gene_key='FBgn'"):
            tokens_of(cells, model)

    def test_synonym_file(self, cells, model, tmp_path):
        wanted = tokens_of(cells, model)
        table = tmp_path / "names.tsv"
        table.write_text("".join(f"ancient{n}\t{gene}\n" for n, gene in enumerate(cells.var["FBgn"])))
        cells.var_names = [f"ancient{n}" for n in range(cells.n_vars)]
        assert tokens_of(cells, model, synonyms=table) == wanted

    def test_missing_names(self, cells, model):
        names = cells.var["FBgn"].astype(object)
        names.iloc[:3] = None
        names.iloc[3] = np.nan
        cells.var["with_gaps"] = names.to_numpy()
        wanted = oracle(cells.X.toarray()[:, 4:], cells.var_names[4:], model.vocabulary)
        assert tokens_of(cells, model, gene_key="with_gaps") == wanted

    @pytest.fixture
    def said(self, monkeypatch):
        """What is told at verbosity 1."""
        said: list[str] = []
        monkeypatch.setattr(_log, "warning", said.append)
        return said

    def test_few_counts_in_known_genes_are_told_once(self, cells, model, small_chunks, said):
        """However many chunks the data come in, and not where the same cells were told of before."""
        matrix = cells.X.toarray()
        matrix[:, 60:] += 500
        cells.X = sp.csr_matrix(matrix)
        _, coverage = _adata.token_rows(cells, model, progress=False)
        share = f"{coverage['share_counts']:.0%}"
        assert coverage["share_counts"] < 0.5
        assert len(said) == 1 and f"reads {share} of your counts. The gene names are not to blame: 100%" in said[0]
        _adata.token_rows(cells, model, progress=False, log_prefix=None)
        assert len(said) == 1
        _adata.token_rows(cells, model, progress=False, log_prefix="reference: ")
        assert said[1] == f"reference: {said[0]}"

    def test_few_known_names_are_told_before_the_work(self, cells, model, small_chunks, said):
        """With their share of the counts, and once."""
        names = [name if n < 20 else f"other{n}" for n, name in enumerate(cells.var_names)]
        other = ad.AnnData(cells.X, obs=cells.obs, var=pd.DataFrame(index=names))
        _adata.map_token_rows(other, model, lambda rows: said.append("block"), progress=False)
        share = cells.X[:, :20].sum() / cells.X.sum()
        assert said[0].startswith("Only 33% of the model's 60 genes were found among the 65 names in var_names, which")
        assert f"hold {share:.0%} of your counts" in said[0]
        assert set(said[1:]) == {"block"}

    def test_a_panel_or_a_transcriptome_is_silent(self, cells, model, said):
        _adata.token_rows(cells, model, progress=False)
        _adata.token_rows(cells[:, :15].copy(), model, progress=False)
        assert said == []

    def test_coverage_report(self, cells, model):
        _, coverage = _adata.token_rows(cells, model, progress=False)
        inside = cells[:, :60].X.sum() / cells.X.sum()
        assert coverage["n_by_symbol"] == coverage["n_vocabulary_mapped"] == 60
        assert coverage["n_genes"] == 65
        assert coverage["share_counts"] == pytest.approx(inside, abs=1e-6)
        log = _adata.token_rows(log_normalised(cells), model, progress=False)[1]
        sums = np.asarray(cells.X.sum(1)).ravel()
        shares = np.asarray(cells[:, :60].X.sum(1)).ravel() / sums
        assert log["share_counts"] == pytest.approx(shares.mean(), abs=1e-5)
        assert log["share_cells_whole_counts"] == 1.0


class TestValues:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (-1.0, r"X holds negative values \(down to -1\): it looks scaled or z-scored"),
            (np.nan, r"X holds missing values \(NaN\)"),
            (np.inf, "X holds infinite values"),
        ],
    )
    @pytest.mark.parametrize("form", ["csr", "csc", "dense"])
    def test_refused(self, cells, model, bad, message, form, small_chunks):
        matrix = cells.X.toarray()
        matrix[50, 3] = bad
        other = ad.AnnData(FORMATS[form](sp.csr_matrix(matrix)), obs=cells.obs, var=cells.var)
        with pytest.raises(ValueError, match=message):
            tokens_of(other, model)

    def test_scaled(self, cells, model):
        import scanpy as sc

        other = log_normalised(cells)
        other.X = other.X.toarray()
        sc.pp.scale(other)
        with pytest.raises(ValueError, match=r"Pass layer= with counts"):
            tokens_of(other, model)

    @pytest.mark.parametrize("size", [100, 10_000])
    @pytest.mark.parametrize("counts_first", [True, False])
    def test_counts_beside_log_values(self, cells, model, monkeypatch, size, counts_first):
        monkeypatch.setattr(_matrix, "CHUNK_VALUES", size)
        matrix = log_normalised(cells).X.toarray()
        part = slice(0, 20) if counts_first else slice(40, 60)
        matrix[part] = cells.X.toarray()[part]
        other = ad.AnnData(sp.csr_matrix(matrix), obs=cells.obs, var=cells.var)
        said = []
        monkeypatch.setattr(_log, "warning", said.append)
        rows, report = _adata.token_rows(other, model, progress=False)
        assert rows.tokens.tolist() == [*chain(*oracle(cells.X.toarray(), cells.var_names, model.vocabulary))]
        assert report["scale"] == "mixed" and report["n_cells_by_scale"] == {"counts": 20, "log1p": 40}
        first = "cell0" if counts_first else "cell40"
        assert said == [
            "The cells of X are on different scales: 40 hold log1p values, and 20 hold counts or normalised values "
            f"(among them '{first}', 'cell{int(first[4:]) + 1}', 'cell{int(first[4:]) + 2}'). Each cell was read on "
            "its own scale. If all should be alike, pass layer= with counts."
        ]

    def test_cells_without_counts(self, cells, model, monkeypatch):
        said = []
        monkeypatch.setattr(_log, "warning", said.append)
        matrix = cells.X.toarray()
        matrix[[0, 7, 59], :60] = 0
        other = ad.AnnData(sp.csr_matrix(matrix), obs=cells.obs, var=cells.var)
        rows, coverage = _adata.token_rows(other, model, progress=False)
        assert np.flatnonzero(rows.lengths == 0).tolist() == [0, 7, 59]
        assert coverage["n_cells_empty"] == 3
        assert said == ["3 of 60 cells have no counts in the model's genes and get no tokens."]
        wanted = oracle(matrix, cells.var_names, model.vocabulary)
        assert tokens_of(other, model) == wanted

    def test_no_counts_at_all(self, cells, model):
        cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
        rows, coverage = _adata.token_rows(cells, model, progress=False)
        assert len(rows) == 60
        assert not rows.lengths.any()
        assert np.isnan(coverage["share_counts"])

    def test_one_cell(self, cells, model):
        assert tokens_of(cells[:1], model) == oracle(cells.X.toarray()[:1], cells.var_names, model.vocabulary)

    def test_max_len(self, cells, model):
        wanted = oracle(cells.X.toarray(), cells.var_names, model.vocabulary, max_len=5)
        assert tokens_of(cells, model, max_len=5) == wanted

    @pytest.mark.parametrize("max_len", [0, -1, 48])
    def test_max_len_out_of_range(self, cells, model, max_len):
        with pytest.raises(ValueError, match=rf"max_len is {max_len}; expected 1 to 47"):
            tokens_of(cells, model, max_len=max_len)

    def test_normalised_values_without_whole_multiples(self, cells, model):
        """Denoised values give the order that they have."""
        rng = np.random.default_rng(0)
        matrix = cells.X.toarray() * rng.lognormal(3, 0.5, cells.shape).astype(np.float32)
        other = ad.AnnData(sp.csr_matrix(matrix), obs=cells.obs, var=cells.var)
        rows, coverage = _adata.token_rows(other, model, progress=False)
        assert coverage["scale"] == "linear"
        assert coverage["share_cells_whole_counts"] < 0.1
        assert tokens_of(other, model) == oracle(matrix, cells.var_names, model.vocabulary)
        log, coverage = _adata.token_rows(
            ad.AnnData(np.log1p(matrix.astype(np.float64)), var=cells.var), model, progress=False
        )
        assert coverage["scale"] == "log1p"
        assert (log.tokens == rows.tokens).mean() > 0.99

    def test_missing_layer_and_column(self, cells, model):
        cells.layers["counts"] = cells.X
        with pytest.raises(KeyError, match=r"layer: no 'count' in adata.layers; did you mean 'counts'\?"):
            tokens_of(cells, model, layer="count")
        with pytest.raises(KeyError, match=r"gene_key: no 'fbgn' in adata.var; did you mean 'FBgn'\?"):
            tokens_of(cells, model, gene_key="fbgn")
        with pytest.raises(KeyError, match=r"there are: 'FBgn'\. Leave gene_key out to take var_names"):
            tokens_of(cells, model, gene_key="zzz")
        cells.var = cells.var[[]]
        with pytest.raises(
            KeyError, match=r"gene_key: no 'FBgn' in adata.var, which has no columns\. Leave gene_key out"
        ):
            tokens_of(cells, model, gene_key="FBgn")
        with pytest.raises(KeyError, match=r"gene_key: no 'FBgn' in adata.var, which has no columns"):
            _adata.log_expression(cells, Reading(gene_key="FBgn"))

    def test_no_matrix(self, cells, model):
        other = ad.AnnData(None, obs=cells.obs, var=cells.var, layers={"counts": cells.X})
        with pytest.raises(ValueError, match=r"The object has no X; pass layer= with counts. Its layers: 'counts'"):
            tokens_of(other, model)

    def test_no_numbers(self, cells, model):
        other = ad.AnnData(cells.X.toarray().astype(object), obs=cells.obs, var=cells.var)
        with pytest.raises(ValueError, match="The data holds values of type object; expected numbers"):
            tokens_of(other, model)

    def test_repeated_entries_of_a_small_type(self, model):
        """200 + 100 molecules, stored twice in eight bits, are 300."""
        data, columns = np.array([200, 100, 150, 1], np.uint8), np.array([0, 0, 1, 2])
        matrix = sp.csr_matrix((data, columns, [0, 4]), shape=(1, 3))
        other = ad.AnnData(matrix, var=pd.DataFrame(index=NAMES[:3]))
        assert tokens_of(other, model) == oracle([[300, 150, 1]], NAMES[:3], model.vocabulary)

    def test_unknown_matrix(self, cells, model, monkeypatch):
        monkeypatch.setattr(_matrix, "matrix_of", lambda adata, layer: pd.DataFrame(adata.X.toarray()))
        with pytest.raises(TypeError, match=r"The data is a pandas.*DataFrame; expected a NumPy array or a SciPy"):
            tokens_of(cells, model)

    @pytest.mark.parametrize("form", ["csr", "dense"])
    def test_presence_alone(self, cells, model, form):
        """Booleans count as ones."""
        present = cells.X.toarray() > 3
        present[0] = False
        other = ad.AnnData(FORMATS[form](sp.csr_matrix(present)), obs=cells.obs, var=cells.var)
        assert tokens_of(other, model) == oracle(present.astype(int), cells.var_names, model.vocabulary)


class TestExpression:
    @pytest.mark.parametrize("scale", ["counts", "log1p", "cp10k"])
    def test_like_scanpy(self, cells, scale):
        wanted = log_normalised(cells).X.toarray()
        given = {"counts": cells, "log1p": log_normalised(cells), "cp10k": log_normalised(cells)}[scale]
        if scale == "cp10k":
            given.X = given.X.expm1()
        values, names = _adata.log_expression(given)
        assert values.dtype == np.float32
        assert values.format == "csr"
        assert names.tolist() == cells.var_names.tolist()
        np.testing.assert_allclose(values.toarray(), wanted, atol=1e-5)

    def test_in_the_model_s_genes(self, cells, model):
        values, names = _adata.log_expression(cells[:, ::-1], model=model)
        assert names.tolist() == model.vocabulary.gene_ids.tolist()
        alone = cells[:, :60].copy()
        np.testing.assert_allclose(values.toarray(), log_normalised(alone).X.toarray(), atol=1e-5)

    def test_layer_names_and_empty_cell(self, cells):
        matrix = cells.X.toarray()
        matrix[3] = 0
        cells.layers["counts"] = sp.csc_matrix(matrix)
        cells.X = None
        values, names = _adata.log_expression(cells, Reading("counts", "FBgn"))
        assert names.tolist() == cells.var["FBgn"].tolist()
        assert values[[3]].nnz == 0


class TestRowChunks:
    @pytest.mark.parametrize("log", [False, True])
    def test_counts_in_gene_space(self, cells, small_chunks, log):
        index = np.arange(65, dtype=np.int32) % 50
        index[7] = -1
        adata = log_normalised(cells) if log else cells
        given = list(_chunks.row_chunks(adata, layer=None, index=index, n_genes=50))
        assert len(given) > 5
        assert sum(matrix.shape[0] for matrix, _ in given) == 60
        assert all(read.rebuilt.all() and len(read.scale) == matrix.shape[0] for matrix, read in given)
        wanted = np.zeros((60, 50))
        for column, gene in enumerate(index):
            if gene >= 0:
                wanted[:, gene] += cells.X.toarray()[:, column]
        found = sp.vstack([matrix for matrix, _ in given]).toarray()
        factor = wanted.sum(1) / found.sum(1)
        np.testing.assert_allclose(found * factor[:, None], wanted, rtol=1e-9)

    def test_other_values_later(self, cells, small_chunks):
        matrix = cells.X.toarray()
        matrix[40:] = np.log1p(matrix[40:])
        other = ad.AnnData(sp.csr_matrix(matrix), obs=cells.obs, var=cells.var)
        given = list(_chunks.row_chunks(other, layer=None, index=np.arange(65), n_genes=65))
        np.testing.assert_array_equal(sp.vstack([matrix for matrix, _ in given]).toarray(), cells.X.toarray())
        assert np.concatenate([read.scale for _, read in given]).tolist() == [0] * 40 + [1] * 20


class TestOpen:
    def test_other_objects(self, cells):
        with pytest.raises(TypeError, match=r"Expected an AnnData or a MuData, got a builtins.str"):
            _adata.open_data("head.h5ad")

    @pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
    def test_empty(self, shape):
        with pytest.raises(ValueError, match=rf"The object is empty: {shape[0]} cells × {shape[1]} genes"):
            _adata.open_data(ad.AnnData(np.zeros(shape, np.float32)))

    def test_mod(self, cells):
        from mudata import MuData

        with pytest.raises(ValueError, match="mod='rna' names a modality of a MuData, but an AnnData was given"):
            _adata.open_data(cells, mod="rna")
        with no_pull():
            data = MuData({"rna": cells})
        with pytest.raises(ValueError, match=r"name the modality with counts by mod=, one of \['rna'\]"):
            _adata.open_data(data)
        with pytest.raises(KeyError, match=r"mod: no 'RNA' in adata.mod; did you mean 'rna'\?"):
            _adata.open_data(data, mod="RNA")

    def test_obs_column(self, cells):
        assert _adata.obs_column(cells, "age", what="age_key").tolist() == cells.obs["age"].tolist()
        with pytest.raises(KeyError, match=r"label_key: no 'celltype' in adata.obs; did you mean 'cell_type'\?"):
            _adata.obs_column(cells, "celltype", what="label_key")


class TestStart:
    def test_in_place(self, cells):
        out, adata = _adata.start(cells)
        assert out is adata is cells

    def test_copy(self, cells):
        out, adata = _adata.start(cells, copy=True)
        assert out is adata
        assert out is not cells
        view_copy, _ = _adata.start(cells[:5], copy=True)
        assert not view_copy.is_view

    def test_backed(self, cells, tmp_path):
        cells.write_h5ad(tmp_path / "a.h5ad")
        backed = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
        try:
            out, _ = _adata.start(backed, copy=True)
            assert not out.isbacked
            np.testing.assert_array_equal(out.X.toarray(), cells.X.toarray())
            assert _adata.start(backed)[1] is backed
            with pytest.raises(ValueError, match=r"view of a file on disk \(backed\).*Pass copy=True"):
                _adata.start(backed[:5])
            assert not _adata.start(backed[:5], copy=True)[0].isbacked
        finally:
            backed.file.close()

    def test_mudata(self, cells):
        from mudata import MuData

        with no_pull():
            data = MuData({"rna": cells})
            out, adata = _adata.start(data, mod="rna", copy=True)
        assert out is not data
        assert adata is out.mod["rna"]
        assert adata is not cells
