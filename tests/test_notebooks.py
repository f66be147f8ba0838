"""The notebooks as they are kept: run from top to bottom, without errors or a trace of the machine they ran on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: A kept notebook is a page: with its figures, it should load fast.
LARGEST = 1_500_000


def test_the_tutorials_are_there() -> None:
    names = {path.stem for path in NOTEBOOKS}
    assert names == {"first_look", "annotate_atlas", "age_clock", "perturbation", "own_species", "article"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_as_it_ran(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "bars and warnings of other packages"
    assert not re.search(r"(/home/|/root/|/tmp/|/Users/|site-packages|C:\\\\)", text), "a path of the machine it ran on"
    assert len(text) < LARGEST
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
