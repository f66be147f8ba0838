"""Loom and h5ad files of the shapes that the Fly Cell Atlas has become what the tools read."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scflyformer as sf

N_CELLS, GENES = 60, ["Drak", "fz2", "mt:CoI", "Hnf4"]
LABELS, SEXES = ["hemocyte", "muscle cell", "unannotated"], ["female", "male"]
NAMES = [f"ACGCACGCAAATC{'ACGT'[n % 4]}GG-d55c64e6__FCA{n % 3}_Head" for n in range(N_CELLS)]


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(1, (N_CELLS, len(GENES))).astype(np.float32)


def write_loom(path, counts, *, without=()):
    """Genes × cells, columns of text as bytes, and a table within, as SCope writes it."""
    cells = {
        "CellID": NAMES,
        "annotation": [LABELS[n % 3] for n in range(N_CELLS)],
        "annotation_broad": ["broad"] * N_CELLS,
        "sex": [SEXES[n % 2] for n in range(N_CELLS)],
        "age": ["5"] * N_CELLS,
        "tissue": ["head"] * N_CELLS,
        "batch_id": [f"library {n % 5}" for n in range(N_CELLS)],
    }
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=counts.T.astype(np.int32), chunks=(2, 16))
        for name, values in cells.items():
            if name not in without:
                file[f"col_attrs/{name}"] = np.array(values, dtype="S60")
        file["col_attrs/n_counts"] = counts.sum(1)
        file["col_attrs/Embedding"] = np.zeros(N_CELLS, dtype=[("_X", "f4"), ("_Y", "f4")])
        file["row_attrs/Gene"] = np.array(GENES, dtype="S20")
    return path


def write_old_h5ad(path, counts):
    """As anndata wrote before 0.7: few genes in X, scaled, all in raw, by gene, and categories in `uns`."""
    with h5py.File(path, "w") as file:
        file["X"] = counts[:, :2] - 1
        obs = np.zeros(N_CELLS, dtype=[("index", "S60"), ("annotation", "i1"), ("sex", "i1"), ("n_genes", "i8")])
        obs["index"], obs["annotation"], obs["sex"] = (
            [name.encode() for name in NAMES],
            *(np.arange(N_CELLS) % n for n in (3, 2)),
        )
        file["obs"] = obs
        for name, values in {"annotation": LABELS, "sex": SEXES}.items():
            file.create_dataset(f"uns/{name}_categories", data=np.array(values, object), dtype=h5py.string_dtype())
        for name, genes in {"var": GENES[:2], "raw.var": GENES}.items():
            var = np.zeros(len(genes), dtype=[("index", "S20"), ("n_cells", "i8")])
            var["index"] = [gene.encode() for gene in genes]
            file[name] = var
        raw = sparse.csc_matrix(np.log1p(counts))
        file.create_group("raw.X").attrs.update({"h5sparse_format": "csc", "h5sparse_shape": raw.shape})
        for name in ("data", "indices", "indptr"):
            file[f"raw.X/{name}"] = getattr(raw, name)
    return path


def test_loom(counts, tmp_path, monkeypatch):
    monkeypatch.setattr("scflyformer.datasets._loom.CELLS", 16)  # four pieces, the last one short
    found = sf.datasets.fca("Head", write_loom(tmp_path / "s_fca_biohub_head_10x.loom", counts))
    assert sparse.issparse(found.X) and found.X.format == "csr" and found.X.dtype == np.float32
    np.testing.assert_array_equal(found.X.toarray(), counts)
    assert found.obs_names.tolist() == NAMES and found.var_names.tolist() == GENES
    assert found.obs["cell_type"].tolist() == [LABELS[n % 3] for n in range(N_CELLS)]
    assert found.obs["age"].tolist() == [5.0] * N_CELLS and found.obs["age_in_file"].tolist() == ["5"] * N_CELLS
    assert found.obs["batch"].tolist() == [f"library {n % 5}" for n in range(N_CELLS)]
    assert found.obs["tissue"].unique().tolist() == ["head"] and "Embedding" not in found.obs
    assert found.var["FBgn"].iloc[0] == "FBgn0052666"
    found.write_h5ad(tmp_path / "head.h5ad")
    again = sf.datasets.fca("head", tmp_path / "head.h5ad", backed="r")
    assert again.isbacked and set(again.obs) == set(found.obs)


def test_what_a_file_does_not_say_is_stated(counts, tmp_path):
    file = write_loom(tmp_path / "gut.loom", counts, without=("age", "tissue", "batch_id"))
    found = sf.datasets.fca("gut", file)
    assert found.obs["age"].unique().tolist() == [5.0] and found.obs["tissue"].unique().tolist() == ["gut"]
    assert found.obs["batch"].tolist() == [f"FCA{n % 3}_Head" for n in range(N_CELLS)]
    with pytest.raises(ValueError, match=r"tissue \(as tissue\)"):
        sf.datasets.fca("all", file)


def test_old_h5ad_gives_all_genes(counts, tmp_path):
    file = write_old_h5ad(tmp_path / "s_fca_biohub_head_10x.h5ad", counts)
    found = sf.datasets.fca("head", file)
    assert found.X.format == "csr" and found.var_names.tolist() == GENES
    np.testing.assert_allclose(found.X.toarray(), np.log1p(counts))
    assert found.obs["cell_type"].tolist() == [LABELS[n % 3] for n in range(N_CELLS)]
    assert pd.api.types.is_numeric_dtype(found.obs["age"])
    with pytest.raises(ValueError, match=r"all its genes in \.raw"):
        sf.datasets.fca("head", file, backed="r")


def test_errors_say_what_to_do(counts, tmp_path):
    with pytest.raises(ValueError, match=r"s_fca_biohub_head_10x\.loom.*https://flycellatlas\.org.*fca\(\"head\", "):
        sf.datasets.fca("head")
    with pytest.raises(ValueError, match="s_fca_biohub_all_wo_blood_10x.loom"):
        sf.datasets.fca("all")
    with pytest.raises(ValueError, match="tissue='brain' is unknown; expected one of all, antenna"):
        sf.datasets.fca("brain")
    with pytest.raises(FileNotFoundError, match="no file"):
        sf.datasets.fca("head", tmp_path / "gone.loom")
    file = write_loom(tmp_path / "head.loom", counts)
    with pytest.raises(ValueError, match="laid out by gene"):
        sf.datasets.fca("head", file, backed="r")
    with pytest.raises(ValueError, match=r"cell_type \(as annotation\).*It has: age, annotation_broad"):
        sf.datasets.fca("head", write_loom(file, counts, without=("annotation",)))
    with h5py.File(file, "w") as empty:
        empty["matrix"] = counts
    with pytest.raises(ValueError, match="not a readable loom file"):
        sf.datasets.fca("head", file)
