"""Where the time of `tl.embed` goes, and how far it is from what the measured rates of this processor allow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from scflyformer.data import _adata
from scflyformer.data._reading import Reading
from scflyformer.tokens._batches import BATCH_TOKENS

from ..lib.command import markdown_table
from .embed import Embed
from .flops import HEAD, LAYERS, Shape, needed, reference
from .part import GENE_KEY
from .rates import Rates
from .runner import figure, say

if TYPE_CHECKING:
    from .settings import Settings

TOP = 8
"""Operators shown."""


def limit(flops: dict[str, float], rates: dict[str, float]) -> float:
    """Return the cells a second if every part ran at its rate and nothing else took time."""
    return 1 / sum(each / rates[part] for part, each in flops.items() if each)


def operators(part: Embed, dtype: str) -> str:
    """Return a table of the operators that take most time themselves."""
    from torch.profiler import ProfilerActivity

    cuda = part.settings.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as recorded:
        part.embed(dtype)
    spent = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(recorded.key_averages(), key=lambda event: -getattr(event, spent))
    total = sum(getattr(event, spent) for event in events)
    shown = [
        [event.key, figure(getattr(event, spent) / 1e3), f"{getattr(event, spent) / total:.1%}", f"{event.count:,}"]
        for event in events[:TOP]
    ]
    return markdown_table(["operator", "own time, ms", "share", "calls"], shown)


def reached(part: Embed, dtype: str, repeats: int) -> tuple[float, float]:
    """Return the cells a second of `tl.embed`, and of its tokenization alone, both the best of ``repeats``."""
    whole, tokens = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        part.embed(dtype)
        whole.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        _adata.token_rows(part.adata, part.model, Reading(gene_key=GENE_KEY), progress=False)
        tokens.append(time.perf_counter() - begin)
    return part.units / min(whole), part.units / min(tokens)


def flops_table(flops: dict[str, float], plain: dict[str, float], rates: dict[str, float]) -> str:
    """Return operations a cell by part, of ours and of the plain loop, and the rates measured."""
    lines = []
    for part, theirs in plain.items():
        mine = flops.get(part, 0.0)
        seconds = mine / rates[part] * 1e3 if mine else 0.0
        rate = figure(rates[part] / 1e9) if part in rates else "–"
        lines.append([part, f"{mine / 1e6:,.1f}", f"{theirs / 1e6:,.1f}", rate, f"{seconds:.3f}"])
    sums = [f"{sum(each.values()) / 1e6:,.1f}" for each in (flops, plain)]
    seconds = 1e3 / limit(flops, rates)
    lines.append(["**all**", *sums, figure(sum(flops.values()) / seconds / 1e6), f"{seconds:.3f}"])
    return markdown_table(
        ["part", "needed, MFLOP a cell", "plain loop", "rate measured, GFLOP/s", "ms a cell at that rate"], lines
    )


def account(part: Embed, dtype: str, plain: dict[str, float], lengths: np.ndarray, repeats: int) -> list[str]:
    """Return paragraphs for a number type: the limit, what is reached of it, and the operators behind the rest."""
    shape, device = Shape.of(part.model.config), torch.device(part.settings.device)
    flops = needed(shape, lengths)
    measured = Rates(shape, device, getattr(torch, dtype))
    rates = measured.parts(int(np.median(lengths)) + 1, int(part.model.config["num_attention_heads"]))
    large, best = measured.large(), limit(flops, rates)
    whole, tokens = reached(part, dtype, repeats)
    done = whole * sum(flops.values())
    widths = ", ".join(f"{name} {figure(rate / 1e9)}" for name, rate in measured.products.items())
    return [
        f"### {dtype}",
        flops_table(flops, plain, rates),
        f"Matrix products of {BATCH_TOKENS:,} rows by width, GFLOP/s: {widths}; a large square one "
        f"{figure(large / 1e9)}.",
        f"Limit at these rates {figure(best)} cells/s; `tl.embed` reaches {figure(whole)}, **{whole / best:.0%}** of "
        f"it (its tokenization alone: {figure(tokens)} cells/s). That is {figure(done / 1e9)} GFLOP/s: "
        f"{done / large:.0%} of the large product's rate, {done / rates[LAYERS]:.0%} of that of products of this "
        "width.",
        operators(part, dtype),
    ]


def profile(settings: Settings, repeats: int) -> str:
    """Return the account of `tl.embed` in float32 and bfloat16, as text."""
    few, part = Embed(settings, few=True), Embed(settings)
    few.setup()
    part.setup()
    if not part.model.has_cell_token:
        raise ValueError(f"The profile counts a network with a cell token; {part.model.name} has none. Use another.")
    ranked, _ = _adata.token_rows(part.adata, part.model, Reading(gene_key=GENE_KEY), progress=False)
    lengths = np.minimum(ranked.lengths, part.model.bert_len)
    shape = Shape.of(part.model.config)
    plain = reference(shape, lengths, part.loop.batch)
    more = sum(plain.values()) / sum(needed(shape, lengths).values())
    text = [
        "## Where the time of tl.embed goes",
        f"{part.units:,} cells, median {np.median(lengths):.0f} genes. The plain loop (batches of {part.loop.batch}) "
        f"computes {more:.2f} times as much, {plain[HEAD] / sum(plain.values()):.0%} of it for the vocabulary head.",
    ]
    for dtype in ("float32", "bfloat16"):
        say(f"profile, {dtype}")
        few.embed(dtype)
        text += account(part, dtype, plain, lengths, repeats)
    return "\n\n".join(text)
