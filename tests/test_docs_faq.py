"""Every message that the FAQ quotes is what the package says; `support/faq_cases.py` makes it say so."""

from __future__ import annotations

import io
import itertools
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from anndata import AnnData
from faq_cases import CASES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "faq.md"
BY_HAND = {"CUDA out of memory"}
"""Entries whose message takes a machine that is not there; a test of their own makes it."""
CUDA_LESS = "The graphics card is not used"


def quoted() -> dict[str, str]:
    """Return the message that each entry quotes, by its title, in the order of the page."""
    text, found = PAGE.read_text(encoding="utf-8"), {}
    starts = [*(match.start() for match in re.finditer(r"^#{2,} ", text, flags=re.MULTILINE)), len(text)]
    for start, end in itertools.pairwise(starts):
        part = text[start:end]
        blocks = re.findall(r"^```text\n(.*?)^```$", part, flags=re.DOTALL | re.MULTILINE)
        assert len(blocks) <= 1, part
        if blocks:
            found[part.splitlines()[0].lstrip("# ")] = blocks[0]
    return found


def says(message: str, said: str) -> bool:
    """Whether the message quoted was said: lines may break anywhere, and … stands for anything."""
    pieces = [re.escape(" ".join(piece.split())) for piece in message.split("…")]
    pattern = r"\s*.*?\s*".join(pieces)
    end = "" if message.rstrip().endswith("…") else r"\s*$"
    return any(re.search(pattern + end, line) for line in said.splitlines())


def run(make: Callable[[AnnData], object], cells: AnnData, log: io.StringIO) -> str:
    """Run a case and return what it said, errors included."""
    log.seek(0)
    log.truncate()
    error = ""
    try:
        make(cells)
    except Exception as raised:
        error = " ".join("".join(traceback.format_exception_only(raised)).split())
    return log.getvalue() + "\n" + error


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the package logs; scanpy's settings are put back."""
    import scanpy as sc

    before = sc.settings.verbosity, sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = 1, io.StringIO()
    yield sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = before


@pytest.fixture(scope="module")
def embedded() -> AnnData:
    """Four simulated cells a library, embedded by the small model."""
    import scflyformer as sf

    cells = sf.datasets.fly_brain_simulated(84)
    sf.tl.embed(cells, model="fly-tiny")
    return cells


def test_every_message_has_a_case_and_every_case_a_message() -> None:
    assert len(CASES) >= 15
    assert set(quoted()) == set(CASES) | BY_HAND


@pytest.mark.slow
@pytest.mark.parametrize("title", CASES)
def test_the_package_says(
    title: str, embedded: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    if title == CUDA_LESS and torch.cuda.is_available():
        pytest.skip("CUDA can be used here")
    monkeypatch.chdir(tmp_path)
    said = run(CASES[title], embedded.copy(), log)
    assert says(quoted()[title], said), said[-1500:]


def test_memory_that_runs_out(log: io.StringIO) -> None:
    """A network that takes half a batch at most."""
    from scflyformer.network._memory import run_batches

    class Network:
        bert_len = 1024

    def half(batch: np.ndarray) -> None:
        if len(batch) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    run_batches(Network(), half, np.full(64, 1023), 65536)  # type: ignore[arg-type]
    assert all(says(quoted()[title], log.getvalue()) for title in BY_HAND), log.getvalue()


def test_a_message_that_drifts_is_noticed() -> None:
    assert says("ValueError: X holds … values (NaN).", "ValueError: X holds missing values (NaN).")
    assert not says("ValueError: X holds missing values", "ValueError: X holds missing values (NaN).")
    assert not says("WARNING: of another kind", "WARNING: of one kind\nError: another kind")
