"""Every message that the FAQ quotes is what the code below it makes the package say."""

from __future__ import annotations

import io
import itertools
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "faq.md"
BY_HAND = {"CUDA out of memory"}
"""Entries whose message takes a machine that is not there; a test of their own makes it."""
CUDA_LESS = "The graphics card is not used"


@dataclass
class Entry:
    """A heading with what is quoted below it, and the code that makes it."""

    title: str
    quoted: str
    code: str
    line: int


def entries() -> list[Entry]:
    """Return the parts of the page in order; the first, before any heading, is the code that all others need."""
    text, found = PAGE.read_text(encoding="utf-8"), []
    starts = [0, *(match.start() for match in re.finditer(r"^#{2,} ", text, flags=re.MULTILINE)), len(text)]
    for start, end in itertools.pairwise(starts):
        part = text[start:end]
        blocks = {"text": [], "python": []}
        for kind, body in re.findall(r"^```(text|python)\n(.*?)^```$", part, flags=re.DOTALL | re.MULTILINE):
            blocks[kind].append(body)
        assert max(map(len, blocks.values())) <= 1, part
        line = text[: start + max(part.find("```python\n"), 0)].count("\n") + 1
        title = part.splitlines()[0].lstrip("# ")
        found.append(Entry(title, "".join(blocks["text"]), "".join(blocks["python"]), line))
    return found


def says(quoted: str, said: str) -> bool:
    """Whether the message quoted was said: lines may break anywhere, and … stands for anything."""
    pieces = [re.escape(" ".join(piece.split())) for piece in quoted.split("…")]
    pattern = r"\s*.*?\s*".join(pieces)
    end = "" if quoted.rstrip().endswith("…") else r"\s*$"
    return any(re.search(pattern + end, line) for line in said.splitlines())


def run(entry: Entry, names: dict, log: io.StringIO) -> str:
    """Run the code of an entry and return what it said, errors included."""
    log.seek(0)
    log.truncate()
    error = ""
    try:
        exec(compile("\n" * entry.line + entry.code, str(PAGE), "exec"), names)
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:From 0.4 .update:FutureWarning")  # mudata's, of its next default
def test_every_message_is_what_the_package_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.StringIO
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *others = entries()
    names: dict = {}
    assert "Error" not in run(first, names, log)
    wrong = {}
    for entry in others:
        if entry.title in BY_HAND or (entry.title == CUDA_LESS and torch.cuda.is_available()):
            continue
        assert not entry.quoted or entry.code, f"{entry.title}: a message, and no code that makes it"
        said = run(entry, names, log) if entry.code else ""
        if not (says(entry.quoted, said) if entry.quoted else not re.search(r"\w+Error", said)):
            wrong[entry.title] = said.strip()[-1500:]
    names.pop("backed").file.close()
    assert not wrong, "\n\n".join(f"{title}\n{said}" for title, said in wrong.items())


def test_memory_that_runs_out(log: io.StringIO) -> None:
    """A network that takes half a batch at most."""
    from scflyformer.network._memory import run_batches

    class Network:
        bert_len = 1024

    def half(batch: np.ndarray) -> None:
        if len(batch) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    run_batches(Network(), half, np.full(64, 1023), 65536)  # type: ignore[arg-type]
    quoted = {entry.title: entry.quoted for entry in entries()}
    assert all(says(quoted[title], log.getvalue()) for title in BY_HAND), log.getvalue()


def test_there_are_enough_entries() -> None:
    assert sum(bool(entry.quoted) for entry in entries()) >= 15


def test_a_message_that_drifts_is_noticed() -> None:
    assert says("ValueError: X holds … values (NaN).", "ValueError: X holds missing values (NaN).")
    assert not says("ValueError: X holds missing values", "ValueError: X holds missing values (NaN).")
    assert not says("WARNING: of another kind", "WARNING: of one kind\nError: another kind")
