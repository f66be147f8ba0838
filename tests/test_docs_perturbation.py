"""The code of the page on perturbation runs as it stands, from top to bottom, and shows what the page says it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "perturbation.md"


def test_the_page_runs(tmp_path: Path, run_page: Callable[[Path], dict], capsys: pytest.CaptureFixture[str]) -> None:
    names = run_page(PAGE)
    _first_results(names, capsys.readouterr().out)
    _edits(names)
    _what_stands_beside(names)
    _readouts(names)
    _all_genes(names)
    assert (tmp_path / "my-clock" / "clock.json").is_file()


def test_the_tables_of_the_page_are_complete() -> None:
    from scflyformer.get._perturb_df import Table
    from scflyformer.perturbation._edit import Kind

    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", text, flags=re.MULTILINE)) == set(get_args(Kind))
    listed = re.findall(r"^\| (`\".*?) \|", text, flags=re.MULTILINE)
    assert set(re.findall(r'`"([a-z]+)"`', " ".join(listed))) == set(get_args(Table))


def _first_results(names: dict, said: str) -> None:
    """A planted gene moves old cells towards the young; a control does no more than its null genes."""
    found = names["found"].set_index("gene")
    assert found.index.tolist() == ["Hsp68", "Msp300", "cype"] and "['Hnf4']" in said
    assert (names["planted"].loc[["Hsp68", "Msp300"], "role"] == "rises").all()
    assert (found.loc[["Hsp68", "Msp300"], "ci_low"] > 0).all()
    assert found.loc["Hsp68", "shift"] > 5 * abs(found.loc["cype", "shift"])
    assert found.loc["Hsp68", "n_null"] < found.loc["cype", "n_null"]
    assert names["planted"].loc["cype", "role"] == "control"
    assert abs(found.loc["cype", "effect"]) < 2 and found.loc["cype", "p_value"] > 0.05


def _edits(names: dict) -> None:
    """An edit the other way round does the opposite, two strong genes add up."""
    raised = names["raised"].set_index("gene")
    assert raised.loc["Hsp68", "shift"] > 5 * abs(raised.loc["cype", "shift"])
    assert (raised["n_cells"] == 24).all()  # all start cells, whether or not they express the gene
    pair = names["interactions"].iloc[0]
    assert (pair["gene_a"], pair["gene_b"]) == ("Hsp68", "Msp300")
    assert abs(pair["interaction"]) < 0.1 * names["found"].set_index("gene").loc["Hsp68", "shift"]
    by_type = names["by_type"].query("interpretable")
    assert len(by_type) > 4 and (by_type["shift"] > 0).all()
    assert (names["away"].loc[by_type.index, "shift"] < 0).all()


def _what_stands_beside(names: dict) -> None:
    """States that differ in nothing: a large shift, no p-value. With more samples the planted gene depends on them."""
    nothing = names["nothing"].iloc[0]
    assert nothing["test"] == "descriptive" and np.isnan(nothing["p_value"])
    assert abs(nothing["shift"] - nothing["null_mean"]) > 0.005 and not nothing["interpretable"]
    several = names["several"].set_index("gene")
    assert (several["test"] == "null genes and permuted samples").all()
    assert several.loc["Hsp68", "p_states"] <= 0.05 < several.loc["cype", "p_states"]
    linear = names["parts"].loc["Hsp68", "net_shift_linear"] / names["parts"].loc["Hsp68", "net_shift"]
    assert 0.8 < linear < 1
    assert names["found"]["interpretable"].all()
    assert (names["found"]["noise"] < 1e-5).all()
    trivial = names["trivial"]
    assert trivial["shift"].corr(-trivial["log_fc"], method="spearman") > 0.5
    assert not set(trivial["gene"]) & set(names["planted"].index[names["planted"]["role"] == "falls"])


def _readouts(names: dict) -> None:
    """Without a gene that rises cells look younger and more like the goal; heat-shock genes fall with Hsp68."""
    ages, probabilities = (names[name].set_index("gene") for name in ("ages", "probabilities"))
    assert ages.loc["Hsp68", "ci_high"] < 0 and abs(ages.loc["cype", "shift"]) < 1
    assert probabilities.loc["Hsp68", "shift"] > 5 * abs(probabilities.loc["cype", "shift"])
    heat = names["downstream"].query("target.str.startswith('Hsp') or target == 'DnaJ-1'")
    assert len(heat) > 1 and (heat["expression_change"] < 0).all()


def _all_genes(names: dict) -> None:
    """A scan calls planted genes and no others; estimates and exact shifts agree."""
    called = names["scan"].query("fdr <= 0.05")["gene"].tolist()
    assert "Hsp68" in called and all(gene.startswith("Hsp") for gene in called)
    assert (names["scan"]["test"] == "permuted samples").all()
    assert names["agreement"]["spearman"].item() > 0.9
