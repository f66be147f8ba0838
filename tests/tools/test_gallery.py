"""The gallery shows every plot, with small figures that its code made."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt

import scflyformer as sf
from tools.gallery import LIMIT, PAGE, blocks, small_png

TEXT = PAGE.read_text(encoding="utf-8")


def test_every_plot_has_a_section_and_a_figure():
    assert sorted(re.findall(r"^### `pl\.(\w+)`$", TEXT, flags=re.MULTILINE)) == sorted(sf.pl.__all__)
    drawn = {name for code, image in blocks(TEXT) if image for name in re.findall(r"sf\.pl\.(\w+)\(", code)}
    assert drawn == set(sf.pl.__all__)
    assert not [code for code, image in blocks(TEXT) if "sf.pl." in code and not image]


def test_figures_are_there_and_small():
    images = [PAGE.parent / image for _, image in blocks(TEXT) if image]
    assert sorted(images) == sorted((PAGE.parent / "_static" / "gallery").iterdir())
    assert all(1000 < image.stat().st_size <= 60_000 for image in images)
    assert (PAGE.parent / "_static" / "demo.png").stat().st_size <= 200_000


def test_blocks_know_the_image_that_follows():
    page = "```python\na\n```\n\n![A b](x.png)\n\n```python\nb\n```\ntext\n![no](y.png)\n"
    assert blocks(page) == [("a\n", "x.png"), ("b\n", "")]


def test_a_figure_too_large_loses_resolution_then_is_refused():
    figure, axis = plt.subplots()
    axis.imshow(np.random.default_rng(0).random((300, 300)))
    try:
        assert len(small_png(figure)) < LIMIT < len(small_png(figure, 10**6))
        with pytest.raises(ValueError, match="expected fewer than 100"):
            small_png(figure, 100)
    finally:
        plt.close(figure)
