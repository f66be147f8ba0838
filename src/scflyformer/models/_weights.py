"""The header of a safetensors file, read and checked without loading a tensor."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_LARGEST_HEADER = 100_000_000
_LFS_POINTER = b"version https://git-lfs"


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file.

    The layout is that of the format's specification (https://github.com/huggingface/safetensors): eight bytes with
    the header's length, a JSON header, then the tensors without gaps up to the end of the file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Tensor name to shape.

    Raises
    ------
    ValueError
        When the file is cut short, has bytes too many, or is not a safetensors file; the message says which.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if _LFS_POINTER.startswith(start) and start:
            raise ValueError("it is a Git LFS pointer and not the weights; run `git lfs pull` where it was cloned")
        length = int.from_bytes(start, "little")
        if size < 8 or (length <= _LARGEST_HEADER and 8 + length > size):
            raise ValueError(f"it is cut short: its {size:,} bytes end before its header does")
        if not 0 < length <= _LARGEST_HEADER:
            raise ValueError("it is not a safetensors file: the first eight bytes are no header length")
        try:
            header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            spans = {name: _span(entry) for name, entry in tensors.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("it is not a safetensors file: its header cannot be read") from error
    end = 0
    for name, (begin, stop, need) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != end or stop - begin != need:
            raise ValueError(f"its header is inconsistent at tensor {name!r}")
        end = stop
    if 8 + length + end != size:
        expected = 8 + length + end
        how = "cut short" if size < expected else "longer than its header says"
        raise ValueError(f"it is {how}: {size:,} bytes, expected {expected:,}")
    return {name: tuple(entry["shape"]) for name, entry in tensors.items()}


def _span(entry: dict) -> tuple[int, int, int]:
    """Return where a tensor begins and ends, and the bytes that its shape and type call for."""
    begin, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)):
        raise ValueError("sides and offsets must be whole numbers from 0 on")
    return begin, stop, math.prod(shape) * _BYTES[entry["dtype"]]
