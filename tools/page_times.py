"""How long each section of a page of the guide takes: `python -m tools.page_times docs/start.md --threads 2`.

The page's Python blocks run from top to bottom in an empty folder. Beside the seconds that pass stand those of the
processor, summed over threads: where they differ by more than the threads explain, the machine was busy.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path


def main(words: list[str] | None = None) -> None:
    """Run the page and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(words)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(options.threads)  # before numpy and torch load
    os.environ["MPLBACKEND"] = "Agg"
    blocks = sections(options.page.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rows = times(blocks)
    print("| section | seconds | of the processor |\n| --- | ---: | ---: |")
    for title, (passed, worked) in rows.items():
        print(f"| {title} | {passed:.1f} | {worked:.1f} |")


def sections(text: str) -> list[tuple[str, str]]:
    """Return the Python blocks of a page in order, each with the heading that it stands under."""
    title, found = "", []
    for part in re.finditer(
        r"^#+ (?P<title>[^\n]*)$|^```python\n(?P<code>.*?)^```$", text, flags=re.DOTALL | re.MULTILINE
    ):
        if part["code"] is None:
            title = part["title"]
        else:
            found.append((title, part["code"]))
    return found


def times(blocks: list[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Run blocks one after the other; return seconds and processor seconds of each heading, and of all."""
    names: dict[str, object] = {}
    rows: dict[str, tuple[float, float]] = {}
    for title, code in blocks:
        before = time.perf_counter(), time.process_time()
        exec(compile(code, title, "exec"), names)
        spent = time.perf_counter() - before[0], time.process_time() - before[1]
        for heading in (title, "all"):
            had = rows.pop(heading, (0.0, 0.0))
            rows[heading] = (had[0] + spent[0], had[1] + spent[1])
    return rows


if __name__ == "__main__":
    main()
