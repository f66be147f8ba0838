"""The code of the page on annotation runs as it stands, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "annotation.md"


def test_the_page_runs(tmp_path: Path, run_page: Callable[[Path], dict], capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page(PAGE)
    cells, atlas = names["cells"], names["atlas"]
    assert (tmp_path / "my-types" / "labels.json").is_file()
    assert cells.uns["tuned"]["metrics"]["features"].tolist() == ["finetuned"]
    assert list(cells.uns["annotation"]["metrics"]["features"]) == ["embedding", "expression", "pca", "majority"]
    why = names["why"].set_index(["gene", "group"])
    assert why.loc[("VGlut", "TmY14"), "ci_high"] < 0 > why.loc[("Gs2", "Astrocyte-like"), "ci_high"]
    assert why.loc["Yeti", "change"].abs().max() < -why.loc[("VGlut", "TmY14"), "change"]
    right = pd.Series(names["adata"].obs["cell_type"].astype(str))
    filled = atlas.obs["cell_type_completed"].astype(str)
    assert (filled == right)[~names["unlabelled"]].all()
    assert (filled == right)[names["unlabelled"]].mean() > 0.8
    assert names["auroc"] > 0.95
    assert names["caught"][True] > 0.5 > 0.05 > names["caught"][False]
    assert "embedding above majority" in capsys.readouterr().out
