"""Passing proves: any source gives a model folder that others can use, a killed run ends as if it had not been, and a
call that cannot work leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from flat_options import pretrain
from mudata_updates import no_pull

import scflyformer as sf

SMALL: dict[str, Any] = {
    "hidden_size": 16, "n_layers": 1, "n_heads": 2, "max_len": 50, "batch_tokens": 700, "epochs": 1, "min_cells": 2,
    "warmup_steps": 1, "eval_steps": 2, "save_steps": 2, "validation": 0.2, "device": "cpu",
}  # fmt: skip
FILES = [
    "README.md", "cells.safetensors", "config.json", "metrics.json", "model.safetensors", "provenance.json",
    "training.tsv", "vocab.tsv",
]  # fmt: skip


def weights(folder: Path) -> dict[str, np.ndarray]:
    return sf.models.load(folder).tensors("")


def held_out(folder: Path) -> dict[str, Any]:
    return sf.models.load(folder).metrics["held_out"]


def differences(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


def assert_same(one: Path, other: Path) -> None:
    """To the last bit on one thread; several may add up in another order in another process.

    Attention does not depend on the bias of its keys: Adam scales up the noise of its gradient.
    """
    if torch.get_num_threads() == 1:
        assert differences(one, other) == 0
        return
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in (name for name in first if not name.endswith("key.bias")):
        np.testing.assert_allclose(first[name], second[name], rtol=0, atol=1e-5, err_msg=name)


def write_cells(cells: ad.AnnData, path: Path) -> Path:
    if path.suffix == ".zarr":
        cells.write_zarr(path)
    else:
        cells.write_h5ad(path)
    return path


@pytest.fixture(scope="module")
def module_cells() -> ad.AnnData:
    """Sixty cells over forty genes in four samples."""
    counts = np.random.default_rng(3).poisson(np.random.default_rng(4).gamma(1, 2, 40), (60, 40))
    obs = pd.DataFrame({"batch": [f"s{n % 4}" for n in range(60)]}, index=[f"cell{n}" for n in range(60)])
    var = pd.DataFrame({"symbol": [f"gene{n}" for n in range(40)]}, index=[f"FBgn{n:07d}" for n in range(40)])
    return ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def trained(module_cells, tmp_path_factory) -> Path:
    """A model of them, whole samples held out."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "my-species"
    assert pretrain(module_cells, out=out, sample_key="batch", dropout=0.1, **SMALL) is None
    return out


def test_the_folder_is_the_contracts(trained, module_cells):
    assert sorted(each.name for each in trained.iterdir()) == FILES
    assert {each.stat().st_mode & 0o044 for each in trained.iterdir()} == {0o044 & ~current_umask()}
    model = sf.models.load(trained)
    assert (model.name, model.hidden_size, model.max_len, model.has_cell_token) == ("my-species", 16, 50, True)
    assert model.vocabulary.gene_ids.tolist() == sorted(module_cells.var_names)
    assert model.vocabulary.symbols.tolist()[:2] == ["gene0", "gene1"]
    assert not [each for each in os.listdir(trained.parent) if each != "my-species"]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_metrics_and_provenance(trained, module_cells):
    model = sf.models.load(trained)
    held = model.metrics["held_out"]
    assert held["split_unit"] == "sample"
    assert len(held["samples"]) == 1
    assert held["n_cells"] == held["n_cells_scored"] == 15
    assert held["sources"] == ["object-0"]
    assert {"mlm", "profile", "unigram", "unigram_by_source"} <= set(held)
    assert 0 < held["unigram"] < np.log(40)
    assert model.metrics["training"]["n_cells"] == 45
    told = model.provenance
    assert told["data"][0] | {"sha256": ""} == {
        "name": "object-0", "n_cells": 60, "n_used": 60, "n_genes": 40, "sha256": "",
    }  # fmt: skip
    assert told["options"]["seed"] == 0
    assert told["settings"]["sample_key"] == "batch"
    assert told["versions"]["scflyformer"] == sf.__version__
    assert told["hardware"].startswith("cpu")
    card = (trained / "README.md").read_text()
    assert "# my-species" in card
    assert f"| masked genes | {held['mlm']:.3f} |" in card


def test_the_loss_curve(trained):
    table = pd.read_csv(trained / "training.tsv", sep="\t")
    assert table["step"].is_monotonic_increasing
    assert {"step", "epoch", "loss", "mlm", "profile", "val_loss", "val_mlm", "val_profile"} <= set(table)
    assert table["epoch"].iloc[-1] == pytest.approx(1)
    assert table["loss"].notna().any()
    assert table["val_loss"].notna().any()
    assert sf.pl.training(trained, show=False) is not None


def test_transformers_opens_the_encoder(trained):
    import transformers

    from scflyformer.models._model import quiet_transformers

    with quiet_transformers():
        encoder, info = transformers.BertModel.from_pretrained(
            trained, add_pooling_layer=False, output_loading_info=True
        )
    assert not info["missing_keys"]
    network = sf.models.load(trained).network()
    tokens = torch.tensor([[5, 9, 3]])
    with torch.inference_mode():
        plain = encoder.eval()(tokens).last_hidden_state
        ours = network.bert(tokens).last_hidden_state
    torch.testing.assert_close(plain, ours)


def test_it_embeds(trained, module_cells):
    sf.tl.embed(module_cells, model=trained)
    vectors = module_cells.obsm.pop("X_scflyformer")
    assert vectors.shape == (60, 16 + 40 + 40)  # cell token, directions (no more than genes), contrast
    assert np.isfinite(vectors).all()
    spread = vectors.std(0)
    assert spread[:16].min() > 0 and spread[16] > 0 and spread[-40:].min() > 0


def test_no_trace_in_the_callers_random_numbers(module_cells, tmp_path):
    def draw() -> list[float]:
        return [random.random(), np.random.random(), float(torch.rand(1))]

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    expected = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(7)
    pretrain(module_cells, out=tmp_path / "m", **SMALL)
    assert draw() == expected


def test_says_nothing_on_the_terminal(module_cells, tmp_path, capfd):
    """The bars and reports of transformers are off, and on again afterwards."""
    import scanpy as sc
    from transformers.utils import logging

    before = sc.settings.verbosity, logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        sc.settings.verbosity = 0
        pretrain(module_cells, out=tmp_path / "m", **SMALL)
    finally:
        sc.settings.verbosity = before[0]
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before[1:]


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "path", "backed", "csc", "dense", "layer", "mudata"])
def test_every_form_of_the_same_cells_gives_the_same_model(module_cells, trained, tmp_path, kind):
    cells, asked = module_cells.copy(), {}
    source: Any = cells
    if kind in ("h5ad", "zarr", "path", "backed"):
        path = write_cells(cells, tmp_path / f"cells.{'zarr' if kind == 'zarr' else 'h5ad'}")
        source = ad.read_h5ad(path, backed="r") if kind == "backed" else path if kind == "path" else str(path)
    elif kind == "csc":
        cells.X = sp.csc_matrix(cells.X)
    elif kind == "dense":
        cells.X = cells.X.toarray()
    elif kind == "layer":
        cells.layers["counts"] = cells.X
        cells.X = sp.csr_matrix(np.full(cells.shape, -1.0))
        asked = {"layer": "counts"}
    elif kind == "mudata":
        import mudata

        with no_pull():
            source = mudata.MuData({"rna": cells})
        asked = {"mod": "rna"}
    pretrain(source, out=tmp_path / "out", sample_key="batch", dropout=0.1, **SMALL, **asked)
    if kind == "backed":
        source.file.close()
    assert_same(tmp_path / "out", trained)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == FILES


def test_the_file_is_free_again(module_cells, tmp_path):
    path = write_cells(module_cells, tmp_path / "cells.h5ad")
    pretrain([path], out=tmp_path / "out", **SMALL)
    write_cells(module_cells, path)


def test_other_panels(module_cells, tmp_path):
    """Each source knows its own genes; the vocabulary is their union, and what one lacks does not come from zeros."""
    one, other = module_cells[:40, :30].copy(), module_cells[40:, 20:].copy()
    path = write_cells(other, tmp_path / "other.h5ad")
    pretrain([one, path], out=tmp_path / "out", validation=["s3"], sample_key="batch", **without("validation"))
    model = sf.models.load(tmp_path / "out")
    assert model.vocabulary.n_genes == 40
    seen = np.asarray((one.X > 0).sum(0)).ravel()
    np.testing.assert_array_equal(model.vocabulary.n_cells[:20], seen[:20])
    held = model.metrics["held_out"]
    assert held["samples"] == ["object-0:s3", "other:s3"]
    assert held["sources"] == ["object-0", "other"]
    assert held["unigram_by_source"] < held["unigram"]
    sf.tl.embed(one, model=tmp_path / "out")


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in SMALL.items() if key not in names}


def test_mlm_has_no_cell_token(module_cells, tmp_path):
    import transformers

    from scflyformer.models._model import quiet_transformers

    out = tmp_path / "mlm"
    pretrain(module_cells, out=out, objective="mlm", **SMALL)
    assert "profile" not in held_out(out)
    assert held_out(out)["split_unit"] == "cell"
    assert not {name.split(".")[0] for name in weights(out)} - {"bert", "cls"}
    with quiet_transformers():
        _, info = transformers.BertForMaskedLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    sf.tl.embed(module_cells, model=out)
    assert module_cells.uns["X_scflyformer"]["params"]["pooling"] == "mean"
    with pytest.raises(ValueError, match="needs a model with a cell token"):
        sf.tl.embed(module_cells, model=out, pooling="cell")
    del module_cells.obsm["X_scflyformer"], module_cells.uns["X_scflyformer"]


def test_going_on_from_a_model(trained, module_cells, tmp_path):
    """Medians and shape are the first model's, whatever the new cells and arguments say; the vocabulary if asked."""
    cells = module_cells[:, ::-1].copy()
    cells.var_names = cells.var["symbol"].to_numpy()
    cells = ad.concat([cells, ad.AnnData(np.ones((60, 1)), obs=cells.obs, var=pd.DataFrame(index=["new"]))], axis=1)
    asked = SMALL | {"hidden_size": 998, "learning_rate": 1e-9, "code_epochs": 0}
    pretrain(cells, out=tmp_path / "next", init=trained, new_genes="ignore", **asked)
    first, second = sf.models.load(trained), sf.models.load(tmp_path / "next")
    assert (second.hidden_size, second.max_len) == (16, 50)
    np.testing.assert_array_equal(first.vocabulary.medians, second.vocabulary.medians)
    np.testing.assert_array_equal(first.vocabulary.gene_ids, second.vocabulary.gene_ids)
    assert differences(trained, tmp_path / "next") < 1e-6
    assert second.provenance["init"] == {
        "name": "my-species", "sha256": first.sha256, "n_genes": 40, "n_new": 0, "new_genes_such_as": [],
    }  # fmt: skip
    assert second.provenance["options"]["hidden_size"] == 16
    assert second.provenance["options"]["dropout"] == pytest.approx(0.1)
    assert "width 16" in (tmp_path / "next" / "README.md").read_text()
    with pytest.raises(ValueError, match=r"was trained with objective='cell', not 'mlm'"):
        pretrain(cells, out=tmp_path / "mlm", init=trained, objective="mlm", **SMALL)
    assert not (tmp_path / "mlm").exists()


def test_half_precision_weights_and_kept_checkpoints(module_cells, tmp_path):
    out = tmp_path / "half"
    pretrain(module_cells, out=out, weights="float16", keep_checkpoints=True, **SMALL)
    assert {tensor.dtype for tensor in weights(out).values()} == {np.dtype(np.float16)}
    assert (out / "checkpoints" / "run.json").exists()
    assert sf.models.load(out).network().dtype.itemsize == 4


def test_bfloat16_on_a_cpu(module_cells, tmp_path):
    pretrain(module_cells, out=tmp_path / "m", dtype="bfloat16", **SMALL)
    assert sf.models.load(tmp_path / "m").provenance["options"]["dtype"] == "bfloat16"
    assert np.isfinite(held_out(tmp_path / "m")["mlm"])


def test_synonyms_reach_the_vocabulary(module_cells, tmp_path):
    (tmp_path / "names.tsv").write_text("name\tFBgn\nold0\tFBgn0000000\ngene1\tFBgn0000001\n")
    pretrain(module_cells, out=tmp_path / "m", synonyms=tmp_path / "names.tsv", **SMALL)
    assert sf.models.load(tmp_path / "m").vocabulary.synonyms.tolist()[:2] == ["old0", ""]
    assert str(tmp_path) not in (tmp_path / "m" / "provenance.json").read_text()


def test_one_text_is_one_value(module_cells, tmp_path):
    """Not its letters."""
    asked = without("validation") | {"exclude": {"batch": "s1"}, "validation": "s2", "sample_key": "batch"}
    pretrain(module_cells, out=tmp_path / "m", **asked)
    assert held_out(tmp_path / "m")["samples"] == ["object-0:s2"]
    assert sf.models.load(tmp_path / "m").provenance["data"][0]["n_used"] == 45


def test_seeds_differ(module_cells, trained, tmp_path):
    pretrain(module_cells, out=tmp_path / "m", sample_key="batch", dropout=0.1, seed=1, **SMALL)
    assert differences(tmp_path / "m", trained) > 1e-3


KILLED = """
    import os, signal, sys
    import anndata as ad
    from flat_options import pretrain
    from scflyformer.training import _trainer

    losses, seen = _trainer.losses, []

    def until_killed(network, batch):
        seen.append(network.training)
        if sum(seen) == 7:  # after the checkpoint of step 4, before that of step 8
            os.kill(os.getpid(), signal.SIGKILL)
        return losses(network, batch)

    _trainer.losses = until_killed
    pretrain(ad.read_h5ad(sys.argv[1]), out=sys.argv[2], **eval(sys.argv[3]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(module_cells, tmp_path):
    """Dropout, batches and masks go on where they were; a checkpoint cut short and other settings are noticed."""
    asked = SMALL | {"epochs": 4, "save_steps": 4, "dropout": 0.2, "sample_key": "batch"}
    cells, out = write_cells(module_cells, tmp_path / "cells.h5ad"), tmp_path / "killed"
    module_cells = ad.read_h5ad(cells)
    code = textwrap.dedent(KILLED)
    ended = subprocess.run(
        [sys.executable, "-c", code, str(cells), str(out), repr(asked)], capture_output=True, env=environment()
    )
    assert ended.returncode == -9, ended.stderr.decode()
    steps = out / "checkpoints" / "steps"
    assert [each.name for each in steps.iterdir()] == ["checkpoint-4"]
    assert os.listdir(out) == ["checkpoints"]

    for changed, match in (
        (
            {"learning_rate": 0.5},
            r"unfinished run with other settings \(options\['learning_rate'\]: was 0\.001, is 0\.5\)",
        ),
        ({"validation": 0.3}, r"validation: was 0\.2, is 0\.3"),
        ({"exclude": {"batch": ["s1"]}}, r"exclude\['batch'\]: was None, is \['s1'\]"),
    ):
        with pytest.raises(ValueError, match=match):
            pretrain(module_cells, out=out, **(asked | changed))
    other = module_cells.copy()
    other.X[0, 0] += 1
    with pytest.raises(ValueError, match=r"sources\[0\]\['sha256'\]: was"):
        pretrain(other, out=out, **asked)
    assert [each.name for each in steps.iterdir()] == ["checkpoint-4"]

    (steps / "checkpoint-8").mkdir()  # as when the process dies while it writes
    (steps / "checkpoint-8" / "model.safetensors").write_bytes(b"cut")
    pretrain(module_cells, out=out, **asked)
    pretrain(module_cells, out=tmp_path / "whole", **asked)
    assert_same(out, tmp_path / "whole")
    scores, expected = held_out(out), held_out(tmp_path / "whole")
    assert scores.keys() == expected.keys()
    for name, value in expected.items():
        assert scores[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name
    assert sorted(each.name for each in out.iterdir()) == FILES
    one, whole = (pd.read_csv(folder / "training.tsv", sep="\t") for folder in (out, tmp_path / "whole"))
    assert one["step"].tolist() == whole["step"].tolist()
    np.testing.assert_allclose(one["val_loss"], whole["val_loss"], rtol=1e-5)


def environment() -> dict[str, str]:
    """Return the environment for a process of its own that imports the package under test and runs as many threads."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(torch.get_num_threads()))
    folders = [Path(sf.__file__).parents[1], Path(__file__).parents[1] / "support"]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))} | threads


def test_a_run_that_failed_to_save_goes_on_at_its_end(module_cells, trained, tmp_path, monkeypatch):
    from scflyformer.training import _run

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    asked = SMALL | {"sample_key": "batch", "dropout": 0.1}
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(_run, "save_folder", fail)
        pretrain(module_cells, out=tmp_path / "m", **asked)
    assert (tmp_path / "m" / "checkpoints" / "run.json").exists()
    pretrain(module_cells, out=tmp_path / "m", **asked)
    assert_same(tmp_path / "m", trained)


def scaled(cells: ad.AnnData) -> ad.AnnData:
    cells.X = np.asarray(cells.X.todense()) - 1.5
    return cells


def empty(cells: ad.AnnData) -> ad.AnnData:
    cells.X = sp.csr_matrix(cells.shape, dtype=np.float32)
    return cells


BAD: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "nothing": ([], {}, ValueError, "source is an empty list"),
    "no file": ("gone.h5ad", {}, FileNotFoundError, r"There is no gone\.h5ad; give the path"),
    "no data": ([[1, 2]], {}, TypeError, "Expected an AnnData or a MuData, got a builtins.list"),
    "no cells": (lambda cells: cells[:0], {}, ValueError, "The object is empty: 0 cells"),
    "one cell": (lambda cells: cells[:1], {"min_cells": 1}, ValueError, "leaves 0 cells to train on and holds 1 out"),
    "scaled": (scaled, {}, ValueError, r"object-0: X holds negative values \(down to -1\.5\)"),
    "empty cells": (empty, {}, ValueError, "No gene is expressed in min_cells=2 cells"),
    "layer": (None, {"layer": "counts"}, KeyError, r"layer: no 'counts' in adata\.layers; there are none"),
    "gene_key": (None, {"gene_key": "symbl"}, KeyError, "gene_key: no 'symbl'.*did you mean 'symbol'"),
    "sample_key": (None, {"sample_key": "bach"}, KeyError, "sample_key: no 'bach'.*did you mean 'batch'"),
    "mod": (None, {"mod": "rna"}, ValueError, "leave mod out"),
    "all excluded": (None, {"exclude": {"batch": [f"s{n}" for n in range(4)]}}, ValueError, "leaves none of its 60"),
    "misspelt": (None, {"exclude": {"batch": ["S1"]}}, ValueError, r"exclude names \['S1'\]"),
    "no column": (None, {"exclude": {"lane": ["S1"]}}, KeyError, "exclude: no 'lane'"),
    "objective": (None, {"objective": "bert"}, ValueError, "objective='bert' is unknown"),
    "weights": (None, {"weights": "int8"}, ValueError, "weights='int8' is unknown"),
    "float16": (None, {"dtype": "float16"}, ValueError, "dtype='float16' trains on CUDA only"),
    "device": (None, {"device": "tpu"}, ValueError, "device is 'tpu'; expected one of"),
    "min_cells": (None, {"min_cells": 0}, ValueError, "min_cells=0 must be a whole number of at least 1"),
    "max_len": (None, {"max_len": "many"}, ValueError, "max_len='many' must be a whole number of at least 1"),
    "bert_len": (None, {"bert_len": 0}, ValueError, "bert_len=0 must be a whole number of at least 1"),
    "too few": (None, {"min_cells": 61}, ValueError, "No gene is expressed in min_cells=61 cells"),
    "heads": (None, {"n_heads": 3}, ValueError, "must be a multiple of n_heads=3"),
    "epochs": (None, {"epochs": 0}, ValueError, "epochs=0 must be a number above 0"),
    "validation 0": (None, {"validation": 0}, ValueError, "validation=0 must be a share above 0 and below 1"),
    "validation 1": (None, {"validation": 1}, ValueError, "validation=1 must be a share"),
    "validation name": (None, {"validation": ["s1"]}, ValueError, "as sample_key"),
    "validation all": (
        None, {"validation": ["s0", "s1", "s2", "s3"], "sample_key": "batch"}, ValueError, "leaves 0 cells to train on",
    ),
    "init": (None, {"init": "nowhere"}, Exception, "nowhere"),
    "new genes": (None, {"new_genes": "keep"}, ValueError, "new_genes='keep' is unknown; expected 'add' or 'ignore'"),
    "synonyms": (None, {"synonyms": "gone.tsv"}, FileNotFoundError, r"No synonym file at gone\.tsv"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_leaves_nothing(name, module_cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, asked, error, match = BAD[name]
    source = source(module_cells.copy()) if callable(source) else module_cells if source is None else source
    with pytest.raises(error, match=match):
        pretrain(source, out="out", **(SMALL | asked))
    assert os.listdir(tmp_path) == []


def test_options_one_by_one_still_work(module_cells, tmp_path):
    """With a warning that says what to write instead; they win over the record."""
    pretrain(module_cells, out=tmp_path / "new", **SMALL)
    with pytest.warns(FutureWarning, match="deprecated") as told:
        sf.tl.pretrain(module_cells, out=tmp_path / "old", options=sf.tl.PretrainOptions(), **SMALL)
    words = [str(warning.message) for warning in told]
    assert "tl.pretrain(device=...) is deprecated" in words[0]
    assert words[1].startswith("tl.pretrain(hidden_size=..., n_layers=...")
    assert "Use options=sf.tl.PretrainOptions(hidden_size=16, n_layers=1" in words[1]
    assert {warning.filename for warning in told} == {__file__}
    assert_same(tmp_path / "new", tmp_path / "old")


def test_held_out_cells_that_express_nothing(module_cells, tmp_path):
    cells = module_cells.copy()
    cells.X = cells.X.multiply((cells.obs["batch"] != "s1").to_numpy()[:, None]).tocsr()
    with pytest.raises(ValueError, match="None of the 15 cells to hold out expresses a gene"):
        pretrain(cells, out=tmp_path / "m", sample_key="batch", validation="s1", **without("validation"))
    assert os.listdir(tmp_path) == []


def test_a_place_that_is_taken(module_cells, trained, tmp_path):
    with pytest.raises(FileExistsError, match="already holds a model"):
        pretrain(module_cells, out=trained, **SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        pretrain(module_cells, out=tmp_path / "file", **SMALL)
    thesis = tmp_path / "thesis"
    (thesis / "checkpoints").mkdir(parents=True)
    (thesis / "checkpoints" / "epoch-3.ckpt").write_text("of other work")
    with pytest.raises(FileExistsError, match=r"other than an unfinished run \(checkpoints/epoch-3\.ckpt\)"):
        pretrain(module_cells, out=thesis, **SMALL)
    (thesis / "chapter.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"other than an unfinished run \(chapter\.tex"):
        pretrain(module_cells, out=thesis, **SMALL)
    assert (thesis / "checkpoints" / "epoch-3.ckpt").read_text() == "of other work"


def test_an_empty_folder_is_free_and_stays_after_a_failure(module_cells, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(ValueError, match="min_cells=61"):
        pretrain(module_cells, out=tmp_path / "m", **(SMALL | {"min_cells": 61}))
    assert list((tmp_path / "m").iterdir()) == []
    (tmp_path / "m" / "checkpoints" / "store").mkdir(parents=True)  # of a run that died while it read its sources
    pretrain(module_cells, out=tmp_path / "m", **SMALL)
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["held_out"]["split_unit"] == "cell"
