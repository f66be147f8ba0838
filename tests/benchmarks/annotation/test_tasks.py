"""No cell stands on both sides of a split, and names say what was held out."""

from __future__ import annotations

import gzip

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import io, sparse


def _apart(task):
    for split in task.splits:
        assert not np.isin(split.reference, split.query).any()
        assert len(split.reference) and len(split.query)
    return task


@pytest.fixture
def atlas(tmp_path):
    """One set of 200 cells, four libraries (donors), under the names of three files."""
    random = np.random.default_rng(0)
    names = ["FCA4_Male_Adult_Head1", "FCA13_Female_head_adult", "one", "two"]
    obs = pd.DataFrame({"batch": np.repeat(names, 50), "cell_type": np.tile([*"aaaab", *"abbcc"], 20)})
    obs["donor"] = obs["batch"]
    obs.index = obs.index.astype(str)
    var = pd.DataFrame({"FBgn": [f"FBgn{number:07d}" for number in range(12)]}, index=[f"g{n}" for n in range(12)])
    cells = ad.AnnData(sparse.csr_matrix(random.poisson(2.0, (len(obs), 12)).astype(np.float32)), obs=obs, var=var)
    for file in ("fly/fca_head", "human/baron_pancreas_human_2142", "human/zheng_facs_3874"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        cells.write_h5ad(tmp_path / f"{file}.h5ad")
    return tmp_path


def test_strains_and_few_labels(folder):
    from benchmarks.annotation.tasks import Tasks

    tasks = Tasks(folder)
    task, few = _apart(tasks.makers["davie by strain"]()), _apart(tasks.makers["davie by strain, 10 % of labels"]())
    assert set(task.classes) == {"A", "B"}, "no bare numbers, no types of one strain"
    (split,), (thin,) = task.splits, few.splits
    assert all(name.startswith("w1118") for name in task.libraries[split.reference])
    assert all(name.startswith("DGRP") for name in task.libraries[split.query])
    assert len(thin.reference) == 4 * 2 and np.isin(thin.reference, split.reference).all()
    np.testing.assert_array_equal(thin.query, split.query)
    assert task.key(split) != few.key(thin) and task.key(split) == Tasks(folder).by_library("davie").key(split)
    assert task.genes[0] == "FBgn0000000" and "w1118 → DGRP-551; 2 types" in task.note


def test_common_types_and_cells(atlas, monkeypatch):
    from benchmarks.annotation import tasks as module

    monkeypatch.setattr(module, "MANY_CELLS", 60)
    tasks = module.Tasks(atlas)
    head, common = _apart(tasks.by_library("head")), _apart(tasks.by_library("head", common=True))
    assert set(head.libraries[head.query]) == {"FCA4_Male_Adult_Head1", "FCA13_Female_head_adult"}
    assert set(head.classes) == {"a", "b", "c"} and set(common.classes) == {"a"}
    task = _apart(tasks.makers["head by cell 8:1:1"]())
    assert task.by_cell and "by cell" in task.note and "by cell" in task.name
    assert len(task.query) == 20 and len(task.splits[0].reference) == 180
    sizes = pd.Series(task.labels[task.query]).value_counts()
    assert sizes["a"] == pytest.approx(10, abs=1) and sizes["c"] == pytest.approx(4, abs=1)


def test_people(atlas):
    from benchmarks.annotation.tasks import Tasks

    tasks = Tasks(atlas)
    pancreas, pbmc = _apart(tasks.pancreas()), _apart(tasks.pbmc())
    assert len(pancreas.splits) == 4 and len(pancreas.query) == 200 and pancreas.own_model
    assert [mask.sum() for mask in pancreas.views.values()] == [200, 50]
    for split in pancreas.splits:
        assert not set(pancreas.libraries[split.reference]) & set(pancreas.libraries[split.query])
    assert pbmc.by_cell and pbmc.own_model and pbmc.genes[0] == "g0"


def test_zheng68k_from_a_file_or_a_10x_folder(tmp_path):
    from benchmarks.annotation.tasks import Tasks

    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 9)).astype(np.float32))
    barcodes = [f"cell{number}-1" for number in range(60)]
    mex = tmp_path / "mex"
    mex.mkdir()
    for name, lines in {"barcodes": barcodes, "features": [f"E{n}\tG{n}\tGene Expression" for n in range(9)]}.items():
        with gzip.open(mex / f"{name}.tsv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    with gzip.open(mex / "matrix.mtx.gz", "wb") as file:
        io.mmwrite(file, counts.T.astype(int))
    table = pd.DataFrame({"barcodes": barcodes[:50], "celltype": list("TTTBB") * 10})
    table.to_csv(mex / "68k_annotation.tsv", sep="\t", index=False)
    cells = ad.AnnData(counts, obs=pd.DataFrame({"cell_type": list("TTTBB") * 12}, index=barcodes))
    cells.write_h5ad(tmp_path / "zheng.h5ad")
    assert "Zheng68K by cell 8:1:1" not in Tasks(tmp_path).makers
    for path, key, n_query in ((mex, "celltype", 5), (tmp_path / "zheng.h5ad", "cell_type", 6)):
        tasks = Tasks(tmp_path, zheng68k=path, zheng68k_labels=key)
        task = _apart(tasks.makers["Zheng68K by cell 8:1:1"]())
        assert len(task.query) == n_query and set(task.classes) == {"B", "T"} and task.own_model
    with pytest.raises(KeyError, match="--zheng68k-labels"):
        Tasks(tmp_path, zheng68k=mex, zheng68k_labels="other").zheng()


def test_a_model_of_its_own(atlas, tmp_path, monkeypatch):
    from benchmarks.annotation import methods
    from benchmarks.annotation.tasks import Tasks

    tiny = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "max_len": 16, "code_size": 4, "n_directions": 4}
    monkeypatch.setattr(methods, "OWN_MODEL", tiny | {"code_epochs": 1, "epochs": 0.1, "warmup_steps": 1})
    task = Tasks(atlas).pbmc()
    columns = methods.methods(["probe", "random"], ["fly", "fly-tiny"])
    assert [method.name for method in columns] == ["probe", "probe, fly-tiny", "random network"]
    file, model = methods.label_file(task, task.splits[0], columns[0], tmp_path)
    again, other = methods.label_file(task, task.splits[0], columns[2], tmp_path)
    assert (model / "model.safetensors").exists() and other != model and again != file
