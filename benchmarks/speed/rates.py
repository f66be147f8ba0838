"""Operations a second that this processor reaches at the shapes of a network, by torch alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from scflyformer.network._network import _VALUE_WIDTH
from scflyformer.tokens._batches import BATCH_TOKENS

from .flops import ATTENTION, CODE, LAYERS, VALUES, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = {"cpu": 2048, "cuda": 8192}


def flops_a_second(work: Callable[[], object], flops: float, device: torch.device, seconds: float = 0.3) -> float:
    """Return the best of three spells of about ``seconds``, after a warm-up."""

    def spell(times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - begin) / times

    spell(2)
    times = max(round(seconds / spell(1)), 1)
    return flops / min(spell(times) for _ in range(3))


class Rates:
    """Measures at the shapes of a network, in a number type, on a device."""

    def __init__(self, shape: Shape, device: torch.device, dtype: torch.dtype) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        self.products: dict[str, float] = {}

    def product(self, rows: int, inner: int, columns: int, dtype: torch.dtype | None = None) -> float:
        """Return the rate of a matrix product, by a linear layer without bias."""
        kind = dtype or self.dtype
        left, right = (torch.randn(n, inner, dtype=kind, device=self.device) for n in (rows, columns))
        with torch.inference_mode():
            return flops_a_second(lambda: functional.linear(left, right), 2.0 * rows * inner * columns, self.device)

    def attention(self, length: int, n_heads: int) -> float:
        """Return the rate of attention among ``length`` tokens, a batch of as many cells as `tl.embed` takes."""
        n, size = max(BATCH_TOKENS // length, 1), self.shape.width // n_heads
        query, key, value = (
            torch.randn(n, n_heads, length, size, dtype=self.dtype, device=self.device) for _ in range(3)
        )
        flops = 4.0 * n * length**2 * self.shape.width
        with torch.inference_mode():
            work = lambda: functional.scaled_dot_product_attention(query, key, value)  # noqa: E731
            return flops_a_second(work, flops, self.device)

    def layer(self) -> float:
        """Return the rate of a layer's linear parts together; `products` keeps that of each by its widths."""
        width, wide = self.shape.width, self.shape.feed_forward
        shapes = [(width, 3 * width), (width, width), (width, wide), (wide, width)]  # query, key and value at once
        self.products = {f"{inner} to {outer}": self.product(BATCH_TOKENS, inner, outer) for inner, outer in shapes}
        flops = [2.0 * inner * outer for inner, outer in shapes]
        seconds = sum(each / rate for each, rate in zip(flops, self.products.values(), strict=True))
        return sum(flops) / seconds

    def parts(self, length: int, n_heads: int) -> dict[str, float]:
        """Return the rate for each part of `needed`; the profile code is computed in float32 always."""
        rates = {LAYERS: self.layer(), ATTENTION: self.attention(length, n_heads)}
        rates[VALUES] = self.product(BATCH_TOKENS, _VALUE_WIDTH, self.shape.width)
        if self.shape.code_size:
            cells = max(BATCH_TOKENS // length, 1)
            columns = self.shape.n_directions + self.shape.n_read
            rates[CODE] = self.product(cells, self.shape.n_tokens, columns, torch.float32)
        return rates

    def large(self) -> float:
        """Return the rate of a large square product: what the device can do at best."""
        n = LARGE.get(self.device.type, 2048)
        return self.product(n, n, n)
