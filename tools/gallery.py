"""Draw the figures of the gallery: ``python -m tools.gallery`` runs the code of ``docs/gallery.md`` and writes them.

The page's Python blocks run from top to bottom; the figure of a block goes to the image that follows it on the page,
a PNG of at most 128 colours below 60 kB.
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.lib.command import new_parser

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path(__file__).parents[1] / "docs" / "gallery.md"
#: Bytes of an image at most.
LIMIT = 60_000
DOTS_PER_INCH = (100, 90, 80, 70, 60)


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the Python blocks of a page in order, each with the image that follows it, or nothing."""
    found = re.findall(r"^```python\n(.*?)^```$(?:\s*!\[[^\]]+\]\(([^)]+)\))?", text, flags=re.DOTALL | re.MULTILINE)
    return list(found)


def small_png(figure: Figure, limit: int = LIMIT) -> bytes:
    """Return a figure as a PNG of few colours, at the highest resolution that keeps it below the limit."""
    from PIL import Image

    for dots in DOTS_PER_INCH:
        full, few = BytesIO(), BytesIO()
        figure.savefig(full, dpi=dots, bbox_inches="tight")
        colours = Image.open(full).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        colours.save(few, "png", optimize=True)
        if few.tell() < limit:
            return few.getvalue()
    raise ValueError(f"The figure takes {few.tell()} bytes at {dots} dots an inch; expected fewer than {limit}.")


def main() -> None:
    """Run the page and write its images."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import scanpy as sc
    from matplotlib import pyplot as plt

    new_parser(__doc__ or "").parse_args()
    sc.settings.autoshow = False
    names: dict[str, object] = {}
    for code, image in blocks(PAGE.read_text(encoding="utf-8")):
        exec(compile(code, str(PAGE), "exec"), names)
        if image:
            path = PAGE.parent / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(small_png(plt.gcf()))
            print(f"{image}: {path.stat().st_size / 1000:.0f} kB", flush=True)
        plt.close("all")


if __name__ == "__main__":
    main()
