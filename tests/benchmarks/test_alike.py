"""Models pretrained on some of the cells: what they see, how long, and that none is trained twice."""

from __future__ import annotations

import shutil
from functools import wraps
from types import SimpleNamespace

import anndata as ad
import pytest

import scflyformer as sf

LIKE = {"objective": "cell", "epochs": 0.6, "code_epochs": 10, "code_size": 8, "n_directions": 16, "dtype": "bfloat16"}


def test_subset_leaves_evaluation_out_and_validation_whole(folder, tmp_path):
    from _alike import n_tokens, subset

    (path,) = subset(folder, tmp_path, ["davie_brain_aging"], 0.5)
    kept = ad.read_h5ad(path)
    assert set(kept.obs["genotype"]) == {"w1118"} and 32 < kept.n_obs < 96
    assert n_tokens([path]) == kept.X.nnz


@pytest.fixture
def trainings(tiny_model, monkeypatch):
    """The arguments of each pretraining, which is but a copy of the tiny model."""
    calls = []

    @wraps(sf.tl.pretrain)
    def pretrain(source, **options):
        chosen = vars(options.pop("options"))
        calls.append({"source": source, "dtype": sf.settings.dtype} | chosen | options)
        shutil.copytree(tiny_model, options["out"])

    monkeypatch.setattr(sf.tl, "pretrain", pretrain)
    return calls


@pytest.fixture
def sets(folder, tmp_path, monkeypatch):
    """The four sets, all with the same cells, and one library of them held out for the loss."""
    import _alike
    from pretrain_fly import SETS

    (tmp_path / "fly").mkdir()
    for name in SETS:
        shutil.copy(folder / "fly" / "davie_brain_aging.h5ad", tmp_path / "fly" / f"{name}.h5ad")
    monkeypatch.setattr(_alike, "VALIDATION", ["w1118_3", "elsewhere"])
    return tmp_path


def test_no_training_is_done_twice(sets, trainings, tmp_path):
    from _alike import trained

    main = SimpleNamespace(dtype="auto", model=SimpleNamespace(sha256="0123456789abcdef", provenance={"options": LIKE}))
    where = {"data": sets, "work": tmp_path / "work"}
    curve = trained(main, "curve", [], epochs=0.5, **where)
    platforms = trained(main, "leave-out-platform", [], epochs=0.5, **where)
    assert [column.name for column in curve] == ["100% of the cells", "30% of the cells", "10% of the cells"]
    assert [column.name for column in platforms] == ["both platforms", "without nuclei", "without whole cells"]
    assert curve[0].model.path == platforms[0].model.path
    alike = tmp_path / "work" / "alike" / "0123456789ab-0.5"
    names = ["all-1", "all-0.3", "all-0.1", "whole-cells-1", "nuclei-1"]
    assert [call["out"] for call in trainings] == [alike / name for name in names]
    trained(main, "curve", [], epochs=0.25, **where)
    assert [call["out"].parent.name for call in trainings[5:]] == ["0123456789ab-0.25"] * 3


def test_options_are_those_of_the_model(sets, trainings, tmp_path):
    from _alike import pretrain_alike

    like = LIKE | {"not an argument": 1}
    for share in (1.0, 0.3):
        pretrain_alike(
            sets, tmp_path, tmp_path / f"{share}", like, sets=["fca_head", "fca_body"], share=share, epochs=0.5
        )
    half, less = trainings
    assert "not an argument" not in half and half["validation"] == ["w1118_3"]
    for key in ("objective", "code_size", "n_directions", "dtype"):
        assert half[key] == LIKE[key]
    assert half["epochs"] == 1.0 and half["code_epochs"] == 20, "as many steps as on four sets"
    tokens = [
        sum(cells[cells.obs["batch"] != "w1118_3"].X.nnz for cells in map(ad.read_h5ad, call["source"]))
        for call in trainings
    ]
    assert less["epochs"] == pytest.approx(tokens[0] / tokens[1])


def test_given_folders_are_taken_in_order(tiny_model, trainings, tmp_path):
    from _alike import trained
    from _representations import Frozen

    where = {"data": tmp_path, "work": tmp_path, "epochs": 1.0}
    main = Frozen(tmp_path, tiny_model, dtype="float32")
    columns = trained(main, "curve", [str(tiny_model)] * 3, **where)
    assert [column.name[:3] for column in columns] == ["100", "30%", "10%"] and not trainings
    assert {column.dtype for column in columns} == {"float32"}
    with pytest.raises(SystemExit, match="takes no folder or 3, in this order: both platforms"):
        trained(main, "leave-out-platform", [str(tiny_model)], **where)
