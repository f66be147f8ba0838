"""Rulers: what they are given, what is made of their answers, and that their scripts stand alone."""

from __future__ import annotations

import ast

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scflyformer as sf


def test_a_ruler_reads_the_cells_as_they_are(tmp_path):
    from benchmarks.rulers.sets import SIMULATED, cell_set, write_cells

    chosen = cell_set(SIMULATED, tmp_path, 60)
    x = np.arange(120.0).reshape(60, 2)
    write_cells(tmp_path / "cells.h5ad", chosen.cells, {"fly": x, "PCA-50": -x})
    read = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert (read.X != chosen.cells.X).nnz == 0 and read.X.dtype == np.float32
    assert read.obs["label"].tolist() == chosen.cells.obs["cell_type"].tolist()
    assert read.obs["library"].tolist() == chosen.cells.obs["batch"].tolist()
    assert list(read.obsm) == ["PCA-50", "fly"] or list(read.obsm) == ["fly", "PCA-50"]
    assert np.array_equal(read.obsm["fly"], x) and np.array_equal(read.obsm["PCA-50"], -x)


def test_only_held_out_cells_of_named_types_are_asked(folder):
    from benchmarks.rulers.sets import BRAIN, cell_set

    assert cell_set(BRAIN, folder, 40).train is None
    cells = cell_set(BRAIN, folder, 40).cells
    assert cells.n_obs == 40 and cells.obs["genotype"].unique().tolist() == ["DGRP-551"]
    assert set(cells.obs["cell_type"]) == {"A", "B"}  # not the number, nor the type of one strain alone
    assert cell_set(BRAIN, folder, 40).cells.obs_names.equals(cells.obs_names)


def test_adapting_sees_no_plate_that_is_scored(tmp_path):
    from benchmarks.rulers.sets import NEURONS, cell_set

    chosen = cell_set(NEURONS, tmp_path)
    assert chosen.train is not None and set(chosen.train.obs["batch"]) == {"P1", "P2"}
    assert set(chosen.asked.obs["batch"]) == {"P5", "P6", "P7"}
    assert chosen.asked.n_obs + chosen.train.n_obs == chosen.cells.n_obs


def test_the_cz_table_says_what_is_lost():
    from benchmarks.rulers.tables import cz_table

    task = "label prediction"
    found = {
        "fly": {"clustering": [["ari", "", 0.5]], task: [["f1", "lr", 0.9], ["f1", "knn", 0.6]]},
        "PCA-50": {"clustering": [["ari", "", 0.75]], task: [["f1", "lr", 0.8], ["f1", "knn", 0.6]]},
        "counts": {task: [["f1", "lr", 0.7], ["f1", "knn", 0.61]]},
    }
    table = cz_table(found)
    assert "| clustering | ari | 0.500 | **0.750** | – |" in table
    assert "| label prediction | f1, lr | **0.900** | 0.800 | 0.700 |" in table
    assert table.endswith("`fly` is not the highest in 2 of 3 rows: clustering: ari; label prediction: f1, knn.")


def test_the_scib_table_is_sorted_and_marks_what_saw_labels():
    from benchmarks.rulers.tables import scib_table

    def row(total, bio, batch):
        return {"cLISI": bio, "Batch correction": batch, "Bio conservation": bio, "Total": total}

    table = scib_table({"fly": row(0.5, 0.6, 0.35), "scANVI": row(0.7, 0.8, 0.5), "PCA-50": row(0.3, 0.2, 0.4)})
    lines = table.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["scANVI (saw the labels)", "fly", "PCA-50"]
    assert lines[2] == "| scANVI (saw the labels) | **0.800** | **0.500** | **0.800** | **0.700** |"
    assert "Total: above `fly` are scANVI. Bio conservation: above `fly` are scANVI." in table
    assert table.endswith("Batch correction: above `fly` are scANVI, PCA-50.")


def test_a_labelled_file_is_completed():
    from benchmarks.rulers.schema import completed
    from benchmarks.rulers.sets import SIMULATED

    cells = sf.datasets.fly_brain_simulated(60)
    terms = np.where(np.arange(60) < 20, "FBbt:00007002", "FBbt:00049828")
    cells.obs["annotation_fbbt"] = pd.Categorical(terms)
    before = cells.copy()
    done = completed(cells, SIMULATED)
    assert done.obs["cell_type_ontology_term_id"].value_counts().to_dict() == {"FBbt:00049828": 40, "unknown": 20}
    days = dict(zip(done.obs["age"], done.obs["development_stage_ontology_term_id"].astype(str), strict=True))
    assert days[0] == "FBdv:00007075" and days[30] == "FBdv:00007105"
    assert done.var_names.tolist() == before.var["FBgn"].tolist() and done.var_names[0].startswith("FBgn")
    assert done.obs["author_cell_type"].tolist() == before.obs["cell_type"].tolist() and "cell_type" not in done.obs
    assert (done.obs["sex_ontology_term_id"] == "unknown").all()
    assert done.uns["organism_ontology_term_id"] == "NCBITaxon:7227"
    assert cells.obs.equals(before.obs) and cells.var_names.equals(before.var_names)


@pytest.mark.parametrize(
    ("days", "term"), [(5, "FBdv:00007080"), (60, "FBdv:00007135"), (61, "FBdv:00010001"), (500, "unknown")]
)
def test_stages(days, term):
    from benchmarks.rulers.schema import stage_of

    assert stage_of(days) == term


def test_messages_are_shortened_only_where_they_repeat():
    from benchmarks.rulers.schema import shortened

    head = "ERROR:cellxgene_schema.validate:ERROR: "
    said = shortened(
        "INFO:cellxgene_schema:Loading dependencies\n"
        + "".join(f"{head}Could not infer organism from feature ID '{gene}' in 'var'.\n" for gene in "abc")
        + f"{head}Dataframe 'obs' is missing column 'x'.\n{head}Dataframe 'obs' is missing column 'y'.\n"
        "INFO:cellxgene_schema.validate:Validation complete in 0:00:43.3 with status is_valid=False\nexit status 1"
    )
    assert said.splitlines() == [
        "ERROR: Could not infer organism from feature ID 'a' in 'var'.  (and 2 more such lines)",
        "ERROR: Dataframe 'obs' is missing column 'x'.",
        "ERROR: Dataframe 'obs' is missing column 'y'.",
        "INFO: Validation complete with status is_valid=False",
        "exit status 1",
    ]


def test_every_version_is_pinned_and_scripts_import_nothing_of_ours():
    from benchmarks.rulers.environments import ENVIRONMENTS, HERE

    for environment in ENVIRONMENTS.values():
        for step in environment.steps:
            for file in (part for part in step if part.endswith(".txt")):
                lines = (HERE / file).read_text().splitlines()
                assert lines and all(line.count("==") == 1 for line in lines), file
                assert not any(line.startswith("torch==") for line in lines), "torch is installed alone"
    for script in HERE.glob("*_script.py"):
        nodes = list(ast.walk(ast.parse(script.read_text())))
        names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
        found = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        assert not any(node.level for node in found), script
        roots = {name.split(".")[0] for name in [*names, *(node.module for node in found)]}
        assert not roots & {"scflyformer", "benchmarks"}, script
