"""The code of the page on ages runs as it stands, from top to bottom, and shows what the page says it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import scflyformer as sf

PAGE = Path(__file__).resolve().parents[1] / "docs" / "age_clock.md"


def test_the_page_runs(tmp_path: Path, run_page: Callable[[Path], dict], capsys: pytest.CaptureFixture[str]) -> None:
    names, text = run_page(PAGE), PAGE.read_text(encoding="utf-8")
    adata, cells, trial = names["adata"], names["cells"], names["trial"]
    _features_are_those_of_the_table(adata, text)
    results = sf.get.clock_df(adata).set_index("features")
    assert results.loc["embedding", "r2"] > 0.5 > 0.05 > results.loc["depth", "r2"]
    assert results.loc["article", "split"] == "cell 7:3"
    bias = sf.get.clock_df(adata, table="per_age").query("features == 'embedding'")["bias"].tolist()
    assert bias[0] > 0 > bias[-1]
    inside = adata.obs["age"].between(adata.obs["age_clock_low"], adata.obs["age_clock_high"])
    share = inside.groupby(adata.obs["age"]).mean()
    assert share.loc[[0, 30]].max() < share.loc[1:15].min()

    by_sample, by_cell = (one["expression"] for one in names["found"].values())
    assert by_sample < 0.05 and by_cell > 0.3
    assert names["found"]["by sample"]["mean"] - by_sample > -0.05
    trap = sf.get.clock_df(adata, table="scale_trap")["r2"].tolist()
    assert trap[0] < 0.05 and trap[2] > trap[1] + 0.1

    means = sf.get.clock_df(adata, key="pseudocells").set_index("features")
    assert (means["n_units"] < means["n_cells"] / 5).all()
    assert means.loc["embedding", "r2"] > results.loc["embedding", "r2"]

    assert (tmp_path / "my-clock" / "clock.json").is_file()
    assert sf.get.clock_df(cells)["split"].tolist() == ["external"]
    assert cells.obs["age_clock_outside"].any()
    faster = trial.uns["age_acceleration"]["results"].iloc[0]
    assert faster["ci_low"] > 0 and faster["p_value"] < 0.05
    depth = trial.uns["depth_acceleration"]["results"].iloc[0]
    assert depth["ci_low"] < 0 < depth["ci_high"]
    change = cells.uns["clock_genes"]["results"].set_index("gene")["change"].reindex(names["asked"]).tolist()
    assert change[0] < -0.5 and change[1] > 0.1 and abs(change[2]) < 0.15
    said = capsys.readouterr().out
    assert "embedding above depth in R²" in said and "by sample" in said


def _features_are_those_of_the_table(adata: object, text: str) -> None:
    """The page lists every feature set that can be asked for, and every name in backticks of `uns` is there."""
    from scflyformer.clock._request import COMPARED

    choices = text.split("## Choose what the clock reads")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z+]+)` \|", choices, flags=re.MULTILINE) == list(COMPARED)
    for name in ("results", "verdict", "predictions", "per_age", "genes", "confounding", "scale_trap"):
        assert name in adata.uns["age_clock"]  # type: ignore[attr-defined]
