"""Which device and number type run the network."""

from __future__ import annotations

from typing import Literal

import torch

from scflyformer._running import Running
from scflyformer._settings import settings
from scflyformer.tokens._batches import BATCH_TOKENS, CUDA_BATCH_TOKENS

Device = Literal["auto", "cpu", "cuda", "mps"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> torch.device:
    """Return the device; ``auto`` takes that of the settings, and where it is ``auto`` too CUDA, MPS, then the CPU."""
    device = settings.device if device == "auto" else device
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    kind = device.split(":")[0]
    if kind not in available:
        raise ValueError(f"device={device!r} is unknown; expected 'auto', 'cpu', 'cuda' or 'mps'.")
    if not available[kind]:
        raise ValueError(f"device={device!r} is not available to this torch build; use 'auto' or 'cpu'.")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the number type; ``auto`` takes the settings', where it is ``auto`` too bfloat16 on CUDA, else float32."""
    dtype = settings.dtype if dtype == "auto" else dtype
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in _DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown; expected 'auto' or one of {sorted(_DTYPES)}.")
    return _DTYPES[dtype]


def pick_place(running: Running) -> tuple[torch.device, torch.dtype]:
    """Return where to run and in which number type."""
    device = pick_device(running.device)
    return device, pick_dtype(running.dtype, device)


def pick_batch_tokens(batch_tokens: int | Literal["auto"], device: torch.device, *, default: int | None = None) -> int:
    """Return the tokens a batch; ``auto`` takes the settings', else ``default``, and without one more on CUDA."""
    batch_tokens = settings.batch_tokens if batch_tokens == "auto" else batch_tokens
    if batch_tokens != "auto":
        return batch_tokens
    if default is not None:
        return default
    return CUDA_BATCH_TOKENS if device.type == "cuda" else BATCH_TOKENS
