"""The machine, in a line."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
import transformers

import scflyformer as sf

CPU = Path("/proc/cpuinfo")
SETS = {"avx512f": "AVX512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}
"""Instruction sets that decide about matrix products, as the kernel names them."""


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(threads: int, device: str) -> str:
    """Return processor, cores, instruction sets, GPU, versions and threads."""
    listed = CPU.read_text().splitlines() if CPU.exists() else []
    entries = dict(
        reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in listed)])
    )
    flags = entries.get("flags", "").split()
    name = " ".join(entries.get("model name", platform.processor() or platform.machine()).split())
    if name.endswith("Processor"):  # a virtual machine that hides the name tells the numbers
        name += f" (family {entries.get('cpu family')}, model {entries.get('model')})"
    parts = [name, f"{cores()} cores", *(shown for flag, shown in SETS.items() if flag in flags)]
    if device.startswith("cuda"):
        parts.append(torch.cuda.get_device_name(device))
    versions = f"scflyformer {sf.__version__}, torch {torch.__version__}, transformers {transformers.__version__}"
    used = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{', '.join(parts)}; {versions}, Python {platform.python_version()}; {used}"
